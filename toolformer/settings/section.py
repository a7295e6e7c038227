"""The base class of all sections of the settings."""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic_core import InitErrorDetails

_NUMBERS_BELOW = 2**63


class Section(BaseModel):
    """A group of settings: frozen, and without unknown names."""

    # A user may paste an API key into the wrong setting. Hide inputs, since logs contain the causes
    # of an error.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator("*")
    @classmethod
    def _numbers_are_finite(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            cls._numbers_are_finite(tuple(value.values()))
        elif isinstance(value, list | tuple):
            for item in value:
                cls._numbers_are_finite(item)
        elif isinstance(value, int) and abs(value) >= _NUMBERS_BELOW:
            raise ValueError("expected a whole number of at most 64 bits")
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError("expected a finite number")
        return value


def invalid(path: tuple[str | int, ...], value: Any, error: str) -> ValidationError:
    """Return the error for one setting, raised by a validator that checks several settings."""
    problem: InitErrorDetails = {"type": "value_error", "loc": path, "input": value}
    problem["ctx"] = {"error": error}
    return ValidationError.from_exception_data("Settings", [problem])
