import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

from dagster_project.commands.vectors import VectorFileError, VectorOutcome, run_vectors

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
    (outcome,) = run_content(folder, {group: [case]})
    return outcome


def run_content(folder: Path, content: object) -> list[VectorOutcome]:
    file = folder / "vectors.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return list(run_vectors(file))


def with_value(case: dict, path: tuple, value: object) -> dict:
    mutated = copy.deepcopy(case)
    holder = mutated["expected"]
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return mutated


@pytest.mark.parametrize(("group", "case"), CASES)
def test_the_case_passes(tmp_path, group, case):
    outcome = run_case(tmp_path, group, case)
    assert outcome.is_passed, outcome.detail
    assert (outcome.group, outcome.id) == (group, case["id"])


@pytest.mark.parametrize(("group", "case"), CASES)
def test_a_missing_field_fails_and_is_named(tmp_path, group, case):
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


@pytest.mark.parametrize("field", ["id", "kind", "inputs", "expected"])
def test_a_case_without_one_of_its_parts_fails(tmp_path, field):
    case = {name: value for name, value in VECTORS["filter"][0].items() if name != field}
    outcome = run_case(tmp_path, "filter", case)
    assert not outcome.is_passed
    assert outcome.detail == f"the case has no field {field!r}"


@pytest.mark.parametrize("part", ["inputs", "expected"])
@pytest.mark.parametrize(("group", "number"), ONE_OF_EACH_KIND)
def test_a_field_that_nobody_compares_fails(tmp_path, group, number, part):
    case = copy.deepcopy(VECTORS[group][number])
    case[part]["tau_x"] = 1
    outcome = run_case(tmp_path, group, case)
    assert not outcome.is_passed
    assert "tau_x" in outcome.detail


def test_a_difference_above_the_rounding_is_reported_with_both_values(tmp_path):
    case = with_value(VECTORS["filter"][0], ("L_plus",), 0.780002)
    outcome = run_case(tmp_path, "filter", case)
    assert not outcome.is_passed
    assert outcome.detail.startswith("L_plus: expected 0.780002, got 0.78")


def test_a_text_where_a_number_is_expected_fails(tmp_path):
    case = with_value(VECTORS["filter"][0], ("L_plus",), "0.78")
    assert run_case(tmp_path, "filter", case).detail == "'0.78' is no number"


def test_an_unknown_kind_and_an_empty_group_fail(tmp_path):
    case = VECTORS["filter"][0]
    other = {**case, "kind": "filtering"}
    outcomes = run_content(tmp_path, {"filter": [case, other], "merge": []})
    assert [outcome.is_passed for outcome in outcomes] == [True, False, False]
    assert "unknown kind 'filtering'" in outcomes[1].detail
    assert "not a list with cases" in outcomes[2].detail


@pytest.mark.parametrize("case", [None, 3, "F01", [], {"id": "X"}])
def test_a_case_that_is_no_case_fails(tmp_path, case):
    outcome = run_case(tmp_path, "weights", case)
    assert not outcome.is_passed
    assert outcome.detail


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("weights", "t", []),
        ("filter", "position", 99),
        ("filter", "logp_empty", "none"),
        ("positions", "p_api", [None]),
        ("trigger", "ranked_tokens", []),
        ("trigger", "disabled", "no"),
        ("merge", "calls", [{"position": 9}]),
        ("scoring", "gold", []),
        ("tools", "args", 7),
        ("windows", "window_weights", "constant"),
        ("windows", "window_tokens", 2.5),
        ("forms", "placement", "behind"),
        ("forms", "baseline", None),
        ("forms", "position", -1),
        ("decisions", "baseline", "maximum"),
        ("decisions", "L_plus", None),
        ("decisions", "tau_c", "none"),
        ("proposals", "proposals", [[1]]),
        ("openings", "chances", [0.5]),
        ("openings", "min_call_probability", None),
        ("min_call_probabilities", "texts", [{"times": 8, "call_positions": [0]}]),
        ("min_call_probabilities", "texts", [[]]),
    ],
)
def test_inputs_of_the_wrong_kind_fail_instead_of_raising(tmp_path, group, name, value):
    case = copy.deepcopy(VECTORS[group][0])
    case["inputs"][name] = value
    outcome = run_case(tmp_path, group, case)
    assert not outcome.is_passed
    assert outcome.detail


def test_numbers_that_cannot_be_those_of_a_call_at_its_place_are_named(tmp_path):
    case = copy.deepcopy(VECTORS["forms"][0])
    case["inputs"]["logp_call_result"][0] -= 1
    assert "in front of a call at its place" in run_case(tmp_path, "forms", case).detail
    case["inputs"]["placement"] = "prefix"
    assert run_case(tmp_path, "forms", case).is_passed


def test_as_many_positions_are_allowed_as_have_probabilities(tmp_path):
    (case,) = (each for each in VECTORS["proposals"] if each["id"] == "PC01")
    case = copy.deepcopy(case)
    case["inputs"]["allowed"].append(True)
    outcome = run_case(tmp_path, "proposals", case)
    assert outcome.detail == "allowed has 7 values, p_api 6"


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


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(VectorFileError, match=r"absent\.json cannot be read"):
        list(run_vectors(tmp_path / "absent.json"))


def test_running_the_vectors_needs_no_model_library():
    code = (
        "import sys; from pathlib import Path;"
        "from dagster_project.commands.vectors import run_vectors;"
        f"assert all(outcome.is_passed for outcome in run_vectors(Path({str(FILE)!r})));"
        "assert not {'torch', 'transformers', 'duckdb'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
