import copy
import json
from pathlib import Path

import pytest

from dagster_project.commands import vector_kinds
from dagster_project.commands.vectors import VectorFileError, VectorOutcome, run_vectors
from warehouse.schema import sql_texts

FILE = Path(__file__).parents[1] / "vectors" / "vectors.json"
VECTORS = json.loads(FILE.read_text(encoding="utf-8"))
CASES = [
    pytest.param(group, case, id=case["id"])
    for group, cases in VECTORS.items()
    if group != "about"
    for case in cases
]
ONE_OF_EACH_KIND = list(
    {
        (group, case["kind"]): (group, number)
        for group, cases in VECTORS.items()
        if group != "about"
        for number, case in enumerate(cases)
    }.values()
)


def run_case(folder: Path, group: str, case: object) -> VectorOutcome:
    file = folder / "vectors.json"
    file.write_text(json.dumps({group: [case]}), encoding="utf-8")
    (outcome,) = run_vectors(file)
    return outcome


@pytest.mark.parametrize(("group", "case"), CASES)
def test_the_case_passes_and_not_without_one_of_its_fields(tmp_path, group, case):
    outcome = run_case(tmp_path, group, case)
    assert outcome.is_passed, outcome.detail
    assert (outcome.group, outcome.id) == (group, case["id"])
    required = {("inputs", name) for name in case["inputs"]}
    required |= {
        ("expected", name)
        for name in case["expected"]
        if not name.startswith(("diff_", "keep_if", "naive"))
    }
    for part, name in required:
        mutated = copy.deepcopy(case)
        del mutated[part][name]
        outcome = run_case(tmp_path, group, mutated)
        assert not outcome.is_passed
        assert repr(name) in outcome.detail or repr(part) in outcome.detail


@pytest.mark.parametrize("part", ["inputs", "expected"])
@pytest.mark.parametrize(("group", "number"), ONE_OF_EACH_KIND)
def test_a_field_that_nobody_compares_fails(tmp_path, group, number, part):
    case = copy.deepcopy(VECTORS[group][number])
    case[part]["tau_x"] = 1
    outcome = run_case(tmp_path, group, case)
    assert not outcome.is_passed
    assert "tau_x" in outcome.detail


def test_a_difference_above_the_rounding_is_reported_with_both_values(tmp_path):
    case = copy.deepcopy(VECTORS["filter"][0])
    case["expected"]["L_plus"] = 0.780002
    outcome = run_case(tmp_path, "filter", case)
    assert not outcome.is_passed
    assert outcome.detail.startswith("L_plus: expected 0.780002, got 0.78")


@pytest.mark.parametrize(
    ("ours", "other", "failed"),
    [
        ("reaches(loss_reduction, $filtering", "not isnan($filtering", {"F02", "F03", "F11"}),
        ("loss_alone) - loss_with_result", "9) - loss_with_result", {"F03"}),
        ("when tokens_used = 0", "when false", {"F08"}),
    ],
)
def test_the_filter_of_a_case_is_the_statement_that_builds_run(
    tmp_path, monkeypatch, ours, other, failed
):
    statement = sql_texts("queries")["filtered_calls"]
    assert ours in statement
    changed = {"filtered_calls": statement.replace(ours, other)}
    monkeypatch.setattr(vector_kinds, "sql_texts", lambda folder: changed)
    outcomes = [run_case(tmp_path, "filter", case) for case in VECTORS["filter"]]
    wrong = {outcome.id for outcome in outcomes if not outcome.is_passed}
    assert failed <= wrong != {outcome.id for outcome in outcomes}
    assert all("filtered_calls.sql" in each.detail for each in outcomes if not each.is_passed)


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("filter", "logp_empty", "none"),
        ("trigger", "disabled", "no"),
        ("merge", "calls", [{"position": 9}]),
        ("tools", "args", 7),
    ],
)
def test_inputs_of_the_wrong_kind_fail_instead_of_raising(tmp_path, group, name, value):
    case = copy.deepcopy(VECTORS[group][0])
    case["inputs"][name] = value
    outcome = run_case(tmp_path, group, case)
    assert not outcome.is_passed
    assert outcome.detail


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ('{"filter": [], "filter": []}', "'filter' stands twice"),
        ("[]", "holds no groups"),
        ('{"about": "nothing"}', "holds no test vectors"),
    ],
)
def test_a_file_without_vectors_is_an_error(tmp_path, content, problem):
    file = tmp_path / "vectors.json"
    file.write_text(content)
    with pytest.raises(VectorFileError, match=problem):
        list(run_vectors(file))


def test_the_command_fails_where_a_vector_does(tmp_path, run):
    assert run("check-vectors", FILE).code == 0
    changed = copy.deepcopy(VECTORS)
    case = changed["weights"][0]
    case["expected"] = dict.fromkeys(case["expected"], 0.123)
    file = tmp_path / "vectors.json"
    file.write_text(json.dumps(changed), encoding="utf-8")
    outcome = run("check-vectors", file)
    assert (outcome.code, case["id"] in outcome.out) == (1, True)
    assert outcome.out.strip().endswith(" passed, 1 failed")
