"""Runs test vectors, numbers worked out beforehand, through the functions that the pipeline uses.

Nothing is skipped: a case of an unknown kind, with an unknown field or without an expected one
has failed. Does not know what the cases of a group hold; `vector_cases.py` does.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster_project.commands.vector_cases import GROUPS
from dagster_project.commands.vector_fields import CaseError, Fields, number_of
from toolformer.errors import ToolformerError

# Expected numbers are rounded to six decimals.
_TOLERANCE = 1e-6


class VectorFileError(ToolformerError):
    """A file holds no test vectors."""


@dataclass(frozen=True, slots=True)
class VectorOutcome:
    """What became of one case.

    Attributes:
        group: the group of the file, for example `filter`.
        id: the case in it.
        is_passed: whether every expected value was found.
        detail: how many values were compared, or each one that differs.
    """

    group: str
    id: str
    is_passed: bool
    detail: str


def run_vectors(file: Path) -> Iterator[VectorOutcome]:
    """Run every case of a file.

    Args:
        file: JSON in the form of `tests/vectors/vectors.json`: groups of cases, each with id,
            kind, inputs and expected.

    Yields:
        One outcome per case in the order of the file, and one that failed for each group that is
        unknown or has no cases.

    Raises:
        VectorFileError: the file cannot be read, is not JSON or has no groups.
    """
    groups = {name: cases for name, cases in _read(file).items() if name != "about"}
    if not groups:
        raise VectorFileError(
            f"{file} holds no test vectors. Expected groups of cases: {', '.join(GROUPS)}."
        )
    for group, cases in groups.items():
        if group not in GROUPS:
            known = ", ".join(GROUPS)
            yield VectorOutcome(group, "–", False, f"unknown group {group!r}; known: {known}")
        elif not isinstance(cases, list) or not cases:
            yield VectorOutcome(group, "–", False, "the group is not a list with cases")
        else:
            for number, case in enumerate(cases):
                yield _run_case(group, number, case)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_without_repeats)
    except OSError as error:
        raise VectorFileError(
            f"The vectors {file} cannot be read: {error.strerror}. Expected a JSON file; check "
            "its path."
        ) from error
    except (ValueError, RecursionError) as error:
        raise VectorFileError(
            f"The vectors {file} are not valid JSON: {error}. Correct the file."
        ) from error
    if not isinstance(content, dict):
        raise VectorFileError(f"{file} holds no groups. Expected an object at its top level.")
    return content


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Of two equal names JSON readers keep the last, so that cases would vanish silently.
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the name {name!r} stands twice in one object")
    return dict(pairs)


def _run_case(group: str, number: int, case: Any) -> VectorOutcome:
    # The roots of the packages' errors.
    from toolformer.errors import ToolformerError
    from tools.errors import ToolError

    name = f"number {number + 1}"
    try:
        if not isinstance(case, dict):
            raise CaseError(f"the case is no object but {case!r}")
        name = str(case.get("id", name))
        for field in ("id", "kind", "inputs", "expected"):
            if field not in case:
                raise CaseError(f"the case has no field {field!r}")
        kinds = GROUPS[group]
        if case["kind"] not in kinds:
            raise CaseError(f"unknown kind {case['kind']!r}; known: {', '.join(kinds)}")
        inputs, expected = (Fields(field, case[field]) for field in ("inputs", "expected"))
        found = kinds[case["kind"]](inputs, expected)
        inputs.check_all_used()
        expected.check_all_used()
        wrong = [
            f"{field}: expected {wanted!r}, got {value!r}"
            for field, wanted, value in found
            if not _agree(wanted, value)
        ]
    except CaseError as error:
        return VectorOutcome(group, name, False, str(error))
    # A case with values of the wrong type or size shows itself inside the functions it is given to.
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return VectorOutcome(group, name, False, f"raised {type(error).__name__}: {error}")
    except (ToolError, ToolformerError) as error:
        return VectorOutcome(group, name, False, f"raised {type(error).__name__}: {error}")
    return VectorOutcome(group, name, not wrong, "; ".join(wrong) or f"{len(found)} values agree")


def _agree(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, list) and isinstance(value, list):
        return len(wanted) == len(value) and all(map(_agree, wanted, value))
    if isinstance(value, bool) or isinstance(wanted, bool) or not isinstance(value, int | float):
        return type(wanted) is type(value) and wanted == value
    number = number_of(wanted)
    if math.isnan(number) or math.isinf(number):
        return str(number) == str(float(value))
    return abs(number - value) <= _TOLERANCE
