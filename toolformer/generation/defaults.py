"""What `generate` decodes with by default, as the settings have it; numbers in a model's folder."""

from types import SimpleNamespace

from toolformer.settings.annotation_sections import ExecutionSettings
from toolformer.settings.sections import DecodingSettings

DEFAULTS = SimpleNamespace(**DecodingSettings().model_dump(), **ExecutionSettings().model_dump())  # pyright: ignore[reportCallIssue]
