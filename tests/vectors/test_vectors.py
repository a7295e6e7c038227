import copy
from pathlib import Path

import pytest

from tests.vectors.cases import REMARKS, differences, read_groups
from tests.vectors.kinds import KINDS, CaseError

GROUPS = read_groups(Path(__file__).with_name("vectors.json"))
CASES = [pytest.param(case, id=case["id"]) for cases in GROUPS.values() for case in cases]


@pytest.mark.parametrize("case", CASES)
def test_the_case_passes_and_not_without_one_of_its_fields(case):
    assert differences(case) == []
    required = {("inputs", name) for name in case["inputs"]}
    required |= {("expected", name) for name in case["expected"] if not name.startswith(REMARKS)}
    for part, name in required:
        mutated = copy.deepcopy(case)
        del mutated[part][name]
        with pytest.raises((CaseError, TypeError), match=repr(name)):
            differences(mutated)


def test_every_group_has_cases_and_every_kind_a_case():
    assert GROUPS
    assert all(GROUPS.values())
    assert {case["kind"] for cases in GROUPS.values() for case in cases} == KINDS.keys()
