"""What `evaluation_report` shows of what studies measured, without a model that is loaded."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.evaluation.report import evaluation_report
from dagster_project.definitions import definitions
from tests.fakes import save_tiny_model
from tests.warehouse.rows import new_warehouse, put
from toolformer_home.plots.files import ADDRESS
from toolformer_home.resources.settings import SettingsResource


@pytest.fixture
def reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
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


def rows_of(table: str) -> list[str]:
    return table.splitlines()[2:]


def test_scores_without_a_tool_stand_against_those_with_all(reported):
    shown = reported(("finetuned", "disabled"), ("finetuned", "enabled"), ("base", "disabled"))
    assert not {"scores without a tool", "scores by size"} & set(shown)
    without = [("finetuned", f"without-{tool}") for tool in ("QA", "Calendar")]
    shown = reported(*without, ("finetuned", "k-1"))
    rows = rows_of(shown["without a tool, against all"])
    assert ["without-Calendar" in row for row in rows] == [True, False]
    assert shown["scores without a tool"].startswith(
        f"{ADDRESS}/evaluation_report/scores-without-a-tool-"
    )
    assert any("| k-1 |" in row for row in rows_of(shown["where it called and where not"]))


def test_scores_by_size_are_of_the_models_that_are_there(reported, tmp_path: Path):
    save_tiny_model(tmp_path / "model")
    cells = [
        (model, mode)
        for model in ("base", "finetuned", "large", "gone", "plain")
        for mode in ("disabled", "enabled", "k-1")
    ]
    shown = reported(*cells, large=str(tmp_path / "model"), gone=str(tmp_path / "gone"))
    rows = rows_of(shown["by size of the model"])
    assert [[model in row for model in ("base", "finetuned", "large")] for row in rows] == [
        *([[True, False, False]] * 2),
        *([[False, True, False]] * 2),
        *([[False, False, True]] * 2),
    ]
    assert len({row.split("|")[-2] for row in rows}) == 1
    assert (Path(shown["folder of the plots"]) / Path(shown["scores by size"]).name).is_file()
