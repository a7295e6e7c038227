"""C* and its calls in the forms that other programs train on and publish."""

from typing import Literal

ExportFormat = Literal["dataset", "sft", "text"]
ArgumentsForm = Literal["objects", "json"]
