"""`toolformer compare`: what it prints and writes of two homes, and what a mistake looks like."""

import json
import re
from pathlib import Path

import pytest

from tests.dagster_project.conftest import Run
from tests.warehouse.rows import put
from tests.warehouse.test_comparison import put_home
from toolformer.home.home import Home
from warehouse.layout import layout_version
from warehouse.warehouse import Warehouse

# Seconds in all; `make test-fast` leaves them out.
pytestmark = pytest.mark.slow

STRANGE = "</article><img src=x onerror=alert(1)>"


def new_home(
    root: Path, *calls: dict, text: str = "Of 1400 people 400 passed the test, or so.", **of
):
    warehouse = Warehouse(root / "warehouse", root / "warehouse.duckdb")
    put(warehouse, "documents", {"text": text}, fingerprint="texts")
    put_home(warehouse, *calls, **of)
    return root


@pytest.fixture
def homes(tmp_path) -> tuple[Path, Path]:
    """One call that both keep, and one that only the first keeps."""
    also = {"call_id": "c2", "arguments": "1 + 1", "result": STRANGE}
    text = f"Of 1400 people 400 passed {STRANGE}."
    first = new_home(tmp_path / "one", {}, also, text=text)
    return first, new_home(tmp_path / "two", {}, also | {"threshold": 2.0}, text=text)


def test_tables_show_what_is_kept_and_why_with_calls_in_their_texts(run: Run, homes):
    done = run("compare", *homes)
    assert done.code == 0, done.err
    cells = [re.findall(r"[^│\s][^│]*?(?= *│)", line) for line in done.out.splitlines()]
    for name in ("Calculator", "shard-00000"):
        assert [name, "both", "1", "0", "0", "0", "0", "0"] in cells
        assert [name, "first", "1", "1", "0", "0", "0", "0"] in cells
    assert f"first: {homes[0]}, round 1\nsecond: {homes[1]}, round 1\n" in done.out
    assert f"</articl⟦Calculator(1 + 1) -> {STRANGE}⟧e><img" in done.out
    assert "only the first keeps it (1.50 nats, threshold 1); the other: same losses" in done.out
    assert "(below_threshold; 1.50 nats, threshold 2)" in done.out


def test_json_has_the_same(run: Run, homes):
    shown = json.loads(run("compare", *homes, "--json").out)
    none = dict.fromkeys(("threshold", "losses", "result", "candidate", "text"), 0)
    expected = [{"kept_by": "both", "calls": 1, **none}]
    expected.append({"kept_by": "first", "calls": 1, **none, "threshold": 1})
    assert shown["by_tool"] == [{"tool": "Calculator", **row} for row in expected]
    assert shown["by_shard"] == [{"shard": "shard-00000", **row} for row in expected]
    assert [(each["why"], each["call_id"]) for each in shown["examples"]] == [("threshold", "c2")]


def test_other_models_are_said_and_named_as_the_reason(run: Run, tmp_path):
    def parts(model: str) -> str:
        return json.dumps({"language_model": json.dumps([model, None])})

    first = new_home(tmp_path / "one", {}, parts=parts("a"))
    second = new_home(tmp_path / "two", {"reduction": 0.2}, parts=parts("b"))
    out = run("compare", first, second).out
    assert "Different models annotated the two homes, so their losses are not comparable" in out
    assert "the other: different losses (another model) (below_threshold" in out


def test_what_a_build_makes_anew_is_named(run: Run, homes):
    made_from = json.dumps({"candidate_calls of shard-00000, Calendar": "older"})
    warehouse = Warehouse(homes[1] / "warehouse", homes[1] / "warehouse.duckdb")
    put_home(warehouse, {"call_id": "x"}, tool="Calendar", made_from=made_from)
    out = run("compare", *homes).out
    assert "1 partitions, such as Calendar of shard-00000, are left out: " in out


def test_homes_that_cannot_be_compared_are_refused(run: Run, homes, tmp_path):
    nowhere, empty = (tmp_path / name for name in ("nowhere", "empty"))
    done = run("compare", homes[0], nowhere)
    assert done.is_one_paragraph_naming(f"There is no home in '{nowhere}'", "toolformer ingest")
    empty.mkdir()
    (empty / "toolformer.yaml").touch()
    done = run("compare", homes[0], empty)
    assert done.is_one_paragraph_naming(f"'{empty}' has no decided calls of round 1", "build")
    done = run("compare", *homes, "--rounds", "1", "2")
    assert done.is_one_paragraph_naming(f"'{homes[1]}' has no decided calls of round 2", "rounds 1")
    (homes[1] / "warehouse" / "layout-version").write_text("0\n")
    done = run("compare", *homes)
    expected = f"has layout version 0. Expected {layout_version()}"
    assert done.is_one_paragraph_naming(expected, "Copy what")


def test_neither_home_needs_to_be_that_of_the_environment(run: Run, homes, home: Home):
    assert run("compare", *homes).code == 0
    assert not home.root.exists()
