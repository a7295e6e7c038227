import copy
from pathlib import Path

import pytest

from tests.vectors import kinds
from tests.vectors.cases import REMARKS, differences, read_groups
from tests.vectors.kinds import KINDS, CaseError
from warehouse.schema import sql_texts

GROUPS = read_groups(Path(__file__).with_name("vectors.json"))
CASES = [pytest.param(case, id=case["id"]) for cases in GROUPS.values() for case in cases]
ONE_OF_EACH_KIND = {case["kind"]: case for cases in GROUPS.values() for case in cases}


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
    assert ONE_OF_EACH_KIND.keys() == KINDS.keys()


@pytest.mark.parametrize("part", ["inputs", "expected"])
@pytest.mark.parametrize("kind", ONE_OF_EACH_KIND)
def test_a_field_that_nobody_compares_fails(kind, part):
    case = copy.deepcopy(ONE_OF_EACH_KIND[kind])
    case[part]["tau_x"] = 1
    with pytest.raises((CaseError, TypeError), match="tau_x"):
        differences(case)


def test_a_case_of_an_unknown_kind_fails():
    with pytest.raises(CaseError, match="unknown kind 'sum'"):
        differences({**GROUPS["filter"][0], "kind": "sum"})


@pytest.mark.parametrize(
    ("ours", "other", "failed"),
    [
        ("reaches(loss_reduction, $filtering", "not isnan($filtering", {"F02", "F03", "F11"}),
        ("loss_alone) - loss_with_result", "9) - loss_with_result", {"F03"}),
        ("when tokens_used = 0", "when false", {"F08"}),
    ],
)
def test_the_filter_of_a_case_is_the_statement_that_builds_run(monkeypatch, ours, other, failed):
    statement = sql_texts("queries")["filtered_calls"]
    assert ours in statement
    changed = {"filtered_calls": statement.replace(ours, other)}
    monkeypatch.setattr(kinds, "sql_texts", lambda folder: changed)
    found = {case["id"]: refusal_or_difference(case) for case in GROUPS["filter"]}
    wrong = {name: why for name, why in found.items() if why}
    assert failed <= wrong.keys() != found.keys()
    assert all("filtered_calls.sql" in why for why in wrong.values())


def refusal_or_difference(case) -> str:
    try:
        return "; ".join(differences(case))
    except CaseError as error:
        return str(error)


def test_a_name_that_stands_twice_is_an_error(tmp_path):
    file = tmp_path / "vectors.json"
    file.write_text('{"filter": [], "filter": []}')
    with pytest.raises(ValueError, match="'filter' stands twice"):
        read_groups(file)
