"""Converts C* and its calls to formats that other programs train on and publish."""

from typing import Literal

ExportFormat = Literal["dataset", "sft", "text"]
ArgumentsForm = Literal["objects", "json"]
