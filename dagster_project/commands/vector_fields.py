"""Reads the fields of test vectors, each of which has to be looked at, and their numbers."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

# What a weight may differ from its fraction by in floating point.
_EXACT = 1e-12


class CaseError(ValueError):
    """A case does not have the form that its group needs."""


# Name, expected value and value found.
Found = list[tuple[str, Any, Any]]


class Fields:
    """The inputs or the expected values of a case; knows which of them were looked at."""

    def __init__(self, name: str, values: Any) -> None:
        if not isinstance(values, dict) or not values:
            raise CaseError(f"the field {name!r} is no object with values")
        self._name = name
        self._values: Mapping[str, Any] = values
        self._used: set[str] = set()

    def __contains__(self, field: str) -> bool:
        return field in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __getitem__(self, field: str) -> Any:
        self._used.add(field)
        if field not in self._values:
            raise CaseError(f"{self._name} has no field {field!r}")
        return self._values[field]

    def check_all_used(self) -> None:
        """Refuse what nobody compared."""
        unknown = sorted(set(self._values) - self._used)
        if unknown:
            raise CaseError(f"{self._name} has unknown fields: {', '.join(unknown)}")


def number_of(value: Any) -> float:
    """A JSON number, or one of the three that JSON does not have."""
    if isinstance(value, str) and value in ("inf", "-inf", "nan"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CaseError(f"{value!r} is no number")
    return float(value)


def equal_fractions(fractions: Sequence[str], weights: Sequence[float]) -> bool:
    """Whether weights are fractions such as `1/3`, but for floating point."""
    return len(fractions) == len(weights) and all(
        abs(float(Fraction(fraction)) - weight) <= _EXACT
        for fraction, weight in zip(fractions, weights, strict=True)
    )


def token_losses(inputs: Fields) -> dict[str, list[float]]:
    """-log p of all tokens of a text, without a call, with it, and with its result."""
    count, position = inputs["n_tokens"], inputs["position"]
    of_prefixes = {
        name: [-number_of(value) for value in inputs[name]]
        for name in ("logp_empty", "logp_call_only", "logp_call_result")
    }
    for name, losses in of_prefixes.items():
        if len(losses) != count or not 0 <= position <= count:
            raise CaseError(f"{name}, position and n_tokens do not fit each other")
    return of_prefixes
