"""Wrong answers to word problems, sorted by the equations of the benchmarks."""

import gzip
import json
import sys
from pathlib import Path

import pytest

from benchmarks import failures
from tests.warehouse.rows import new_warehouse, put

# Item, equation, gold; arguments of its call, and whether their result is right.
ANSWERS = (
    ("steps", "(1+2)*3=9", "9", "1+2", False),
    ("no call", "27+15=42", "42", None, None),
    ("unused", "8+x=12", "4", "12-8", True),
    ("operation", "X=(27.0*16.0)", "432", "27+16", False),
    ("number", "( 76.0 - 25.0 )", "51", "76-52", False),
)


def test_each_wrong_answer_is_sorted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    problems = [{"id": item, "equation": equation} for item, equation, *_ in ANSWERS]
    lines = "".join(f"{json.dumps(problem)}\n" for problem in problems).encode()
    for name in ("asdiv", "svamp", "mawps"):
        (tmp_path / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines))
    wrong = {"benchmark": "asdiv", "model": "calls", "score": 0.0}
    without = wrong | {"mode": "disabled", "called_tool": None, "is_result_right": None}
    rows = [
        row
        for item, _, gold, arguments, is_right in ANSWERS
        for row in (
            {"item_id": item, "gold": json.dumps([gold]), **without},
            {"item_id": item, "gold": json.dumps([gold]), **wrong, "mode": "enabled"}
            | {"called_tool": arguments and "Calculator", "arguments": arguments}
            | {"is_result_right": is_right},
        )
    ]
    put(new_warehouse(tmp_path), "evaluation_results", *rows, name="asdiv.calls")
    flags = ["--home", str(tmp_path), "--model", "calls", "--data", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["failures", *flags, "--json", str(tmp_path / "sorted.json")])
    failures.main()
    sorted_answers = json.loads((tmp_path / "sorted.json").read_text())
    assert {row["item_id"]: row["failure"] for row in sorted_answers} == {
        "steps": "more than one step",
        "no call": "no call",
        "unused": "right result not used",
        "operation": "wrong operation",
        "number": "wrong number",
    }
    assert capsys.readouterr().out.splitlines()[0].split() == ["more", "than", "one", "step", "1"]
