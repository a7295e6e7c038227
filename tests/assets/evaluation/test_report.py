"""What `evaluation_report` shows of what studies measured, without a model that is loaded."""

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from assets.evaluation import report as report_module
from assets.evaluation.report import evaluation_report
from dagster_project.definitions import definitions
from tests.fakes import save_tiny_model
from tests.warehouse.rows import new_warehouse, put
from toolformer.home.plots.files import ADDRESS
from toolformer.home.resources.settings import SettingsResource


@pytest.fixture
def reported(tmp_path, monkeypatch):
    """Reports on two items of SVAMP, of which the first is right in every mode; the metadata."""
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    store = new_warehouse(tmp_path)

    def report(*cells: tuple[str, str], **models: str) -> dict[str, Any]:
        for model, mode in cells:
            same = {"benchmark": "svamp", "model": model, "mode": mode}
            rows = [{**same, "item_id": str(item), "score": 1 - item} for item in range(2)]
            name = f"svamp.{model}.{mode}.0000"
            put(store, "evaluation_results", *rows, name=name, fingerprint=name)
        overrides = {
            "language_model": {"path": str(tmp_path / "model")},
            "evaluation": {"models": models},
        }
        resources = {
            **(definitions().resources or {}),
            "settings": SettingsResource(overrides=overrides),
        }
        (event,) = dg.materialize(
            [evaluation_report], resources=resources
        ).get_asset_materialization_events()
        return {name: each.value for name, each in event.materialization.metadata.items()}

    return report


@pytest.fixture
def drawn(monkeypatch) -> list[pl.DataFrame]:
    """The rows of each plot."""
    shown: list[pl.DataFrame] = []
    for name in ("difference_plot", "model_size_plot"):
        draw = getattr(report_module, name)

        def drawing(frame: pl.DataFrame, *title: str, draw: Any = draw) -> Any:
            shown.append(frame)
            return draw(frame, *title)

        monkeypatch.setattr(report_module, name, drawing)
    return shown


def test_scores_without_a_tool_stand_against_those_with_all(reported, drawn):
    shown = reported(("finetuned", "disabled"), ("finetuned", "enabled"), ("base", "disabled"))
    assert not {"scores without a tool", "scores by size"} & set(shown)
    without = [("finetuned", f"without-{tool}") for tool in ("QA", "Calendar")]
    shown = reported(*without, ("finetuned", "k-1"))
    assert shown["scores without a tool"].startswith(
        f"{ADDRESS}/evaluation_report/scores-without-a-tool-"
    )
    assert drawn[-1]["comparison"].to_list() == ["without-Calendar", "without-QA"]


def test_scores_by_size_are_of_the_models_that_are_there(reported, drawn, tmp_path):
    save_tiny_model(tmp_path / "model")
    cells = [
        (model, mode)
        for model in ("base", "finetuned", "large", "gone", "plain")
        for mode in ("disabled", "enabled", "k-1")
    ]
    shown = reported(*cells, large=str(tmp_path / "model"), gone=str(tmp_path / "gone"))
    rows = drawn[-1]
    assert rows["model"].to_list() == [*["base"] * 2, *["finetuned"] * 2, *["large"] * 2]
    assert rows["parameters"].n_unique() == 1
    assert (Path(shown["folder of the plots"]) / Path(shown["scores by size"]).name).is_file()
