"""`toolformer check-vectors`: compares the pipeline's functions with numbers worked out beforehand.

A case of an unknown kind, with an unknown field or without an expected one fails.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dagster_project.commands import console
from dagster_project.commands.vector_kinds import KINDS, CaseError
from toolformer.errors import ToolformerError
from toolformer.files.named_files import read_named
from tools.errors import ToolError

# Expected numbers are rounded to six decimals.
_TOLERANCE = 1e-6
_MAX_BYTES = 2**26
# Names of expected values that only tell the reader what a slip would give.
_REMARKS = ("naive_", "diff_", "keep_")


class VectorFileError(ToolformerError):
    """A file holds no test vectors."""


class VectorOutcome(NamedTuple):
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


def check_file(file: Path) -> bool:
    """Run every case of a file, and print those that failed; whether all passed."""
    outcomes = list(run_vectors(file))
    failed = [outcome for outcome in outcomes if not outcome.is_passed]
    for outcome in failed:
        console.say(f"{outcome.group} {outcome.id}: {outcome.detail}")
    console.say(f"{len(outcomes) - len(failed)} passed, {len(failed)} failed")
    return not failed and bool(outcomes)


def run_vectors(file: Path) -> Iterator[VectorOutcome]:
    """Run every case of a file.

    Args:
        file: JSON in the form of `tests/vectors/vectors.json`: groups of cases, each with id,
            kind, inputs and expected.

    Yields:
        One outcome per case in the order of the file, and one that failed for each group that has
        no cases.

    Raises:
        VectorFileError: the file cannot be read, is not JSON or has no groups.
    """
    groups = {name: cases for name, cases in _read(file).items() if name != "about"}
    if not groups:
        raise VectorFileError(f"{file} holds no test vectors. Expected groups of cases.")
    for group, cases in groups.items():
        if not isinstance(cases, list) or not cases:
            yield VectorOutcome(group, "–", False, "the group is not a list with cases")
            continue
        for number, case in enumerate(cases, start=1):
            name = str(case.get("id", number)) if isinstance(case, dict) else str(number)
            yield VectorOutcome(group, name, *_run_case(case))


def _read(file: Path) -> dict[str, Any]:
    try:
        written = read_named(file, maximum_bytes=_MAX_BYTES)
        content = json.loads(written, object_pairs_hook=_without_repeats)
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
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise ValueError(f"the name {name!r} stands twice in one object")
    return dict(pairs)


def _run_case(case: Any) -> tuple[bool, str]:
    """Whether a case has passed, and the details."""
    try:
        results, expected = _results_and_expected(case)
        wrong = [
            f"{name}: expected {expected[name]!r}, got {value!r}"
            for name, value in results.items()
            if not _agree(expected[name], value)
        ]
    except CaseError as error:
        return False, str(error)
    # A case with values of the wrong type or size shows itself inside the functions it is given to.
    except (
        *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
        *(ToolError, ToolformerError),
    ) as error:
        return False, f"raised {type(error).__name__}: {error}"
    return not wrong, "; ".join(wrong) or f"{len(results)} values agree"


def _results_and_expected(case: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    if not isinstance(case, dict):
        raise CaseError(f"the case is no object but {case!r}")
    for field in ("id", "kind", "inputs", "expected"):
        if field not in case:
            raise CaseError(f"the case has no field {field!r}")
    if case["kind"] not in KINDS:
        raise CaseError(f"unknown kind {case['kind']!r}; known: {', '.join(KINDS)}")
    results, expected = KINDS[case["kind"]](**case["inputs"]), case["expected"]
    if missing := results.keys() - expected.keys():
        raise CaseError(f"expected has no field {min(missing)!r}")
    unknown = {name for name in expected.keys() - results.keys() if not name.startswith(_REMARKS)}
    if unknown:
        raise CaseError(f"expected has unknown fields: {', '.join(sorted(unknown))}")
    return results, expected


def _agree(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, list) and isinstance(value, list):
        return len(wanted) == len(value) and all(map(_agree, wanted, value))
    if isinstance(value, bool) or isinstance(wanted, bool) or not isinstance(value, int | float):
        return type(wanted) is type(value) and wanted == value
    if isinstance(wanted, int | float):
        return abs(wanted - value) <= _TOLERANCE
    if wanted not in ("inf", "-inf", "nan"):
        raise CaseError(f"{wanted!r} is no number")
    # JSON does not have these.
    return not math.isfinite(value) and wanted == str(float(value))
