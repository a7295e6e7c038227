"""The presets: `presets.yaml`, parsed."""

from pathlib import Path
from typing import Any

from toolformer.settings.yaml_text import loaded

# Changed settings by preset; `preset` names the preset that these changes build on.
PRESETS: dict[str, dict[str, Any]] = loaded(
    Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
)
