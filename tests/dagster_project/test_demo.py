"""What the demo says of the evaluation; `make demo` itself takes minutes."""

from pathlib import Path

import pytest

from dagster_project.commands import demo
from tests.warehouse.rows import frame
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse


def test_the_gain_and_the_perplexity_are_those_of_the_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    store = Warehouse(tmp_path / "warehouse", tmp_path / "warehouse.duckdb")
    store.prepare()
    right = {"disabled": 1, "enabled": 3}
    for mode, count in right.items():
        rows = [
            {
                "benchmark": "sums",
                "item_id": f"sums-{number}",
                "model": "finetuned",
                "mode": mode,
                "metric": "accuracy",
                "score": float(number < count),
            }
            for number in range(4)
        ]
        store.replace_slice(
            "evaluation_results",
            ALL,
            f"sums.{mode}",
            frame("evaluation_results", *rows),
            metadata={},
        )
    difference = {
        "benchmark": "sums",
        "model": "finetuned",
        "mode": "enabled",
        "other_model": "finetuned",
        "other_mode": "disabled",
        "items": 4,
        "better": 2,
        "worse": 0,
        "p_value": 0.5,
    }
    store.replace_slice(
        "paired_differences", ALL, "sums", frame("paired_differences", difference), metadata={}
    )
    for model, loss in (("base", 3.0), ("finetuned", 2.9)):
        row = {
            "benchmark": "perplexity",
            "item_id": "text",
            "model": model,
            "mode": "disabled",
            "metric": "perplexity",
            "score": loss,
        }
        store.replace_slice(
            "evaluation_results",
            ALL,
            f"perplexity.{model}",
            frame("evaluation_results", row),
            metadata={},
        )
    demo._show_gain(store)
    demo._show_perplexity(store)
    gain, perplexity = capsys.readouterr().out.splitlines()
    assert "Of 4 sums" in gain
    assert "1 right without calls and 3 with calls (p = 0.5," in gain
    assert "18.2 of the finetuned model, 20.1 of the base model (-9.5 %)" in perplexity
