"""The presets: what a set-up smaller than the paper's changes, as `presets.yaml` says."""

from pathlib import Path
from typing import Any

from toolformer.settings.yaml_text import loaded

# By name, what each changes; `preset` is the one that it builds on.
PRESETS: dict[str, dict[str, Any]] = loaded(
    Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
)
