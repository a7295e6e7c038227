"""Compares what the pipeline's functions give for a case with the numbers worked out beforehand."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.vectors.kinds import KINDS, CaseError

# Expected numbers are rounded to six decimals.
_TOLERANCE = 1e-6
# Names of expected values that only tell the reader what a slip would give.
REMARKS = ("naive_", "diff_", "keep_")


def read_groups(file: Path) -> dict[str, list[dict[str, Any]]]:
    """The groups of a file in the form of `vectors.json`: cases with id, kind, inputs, expected.

    Raises:
        ValueError: a name stands twice in one object.
    """
    content = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_without_repeats)
    return {name: cases for name, cases in content.items() if name != "about"}


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Of two equal names JSON readers keep the last, so that cases would vanish silently.
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise ValueError(f"the name {name!r} stands twice in one object")
    return dict(pairs)


def differences(case: Mapping[str, Any]) -> list[str]:
    """Each value of a case that is not the expected one, with both.

    Raises:
        CaseError: the kind or a field is unknown, or an expected one is missing.
        TypeError: an input is missing or unknown.
    """
    if case["kind"] not in KINDS:
        raise CaseError(f"unknown kind {case['kind']!r}; known: {', '.join(KINDS)}")
    results, expected = KINDS[case["kind"]](**case["inputs"]), case["expected"]
    if missing := results.keys() - expected.keys():
        raise CaseError(f"expected has no field {min(missing)!r}")
    unknown = {name for name in expected.keys() - results.keys() if not name.startswith(REMARKS)}
    if unknown:
        raise CaseError(f"expected has unknown fields: {', '.join(sorted(unknown))}")
    return [
        f"{name}: expected {expected[name]!r}, got {value!r}"
        for name, value in results.items()
        if not _agree(expected[name], value)
    ]


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
