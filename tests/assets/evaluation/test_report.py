"""What `evaluation_report` makes of what studies measured, and the report shows."""

import re

import dagster as dg
import pytest

from assets.evaluation.report import evaluation_report
from dagster_project.definitions import definitions
from tests.warehouse.rows import new_warehouse, put
from toolformer.home.report.contents import Contents, contents_of
from toolformer.home.report.page import page_of
from toolformer.home.settings.sections import Settings


@pytest.fixture
def reported(tmp_path, monkeypatch):
    """Reports on two items of SVAMP, of which the first is right in every mode."""
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    store = new_warehouse(tmp_path)

    def report(*cells: tuple[str, str]) -> Contents:
        for model, mode in cells:
            same = {"benchmark": "svamp", "model": model, "mode": mode}
            rows = [{**same, "item_id": str(item), "score": 1 - item} for item in range(2)]
            name = f"svamp.{model}.{mode}.0000"
            put(store, "evaluation_results", *rows, name=name, fingerprint=name)
        assert dg.materialize([evaluation_report], resources=definitions().resources).success
        return contents_of(store, Settings())

    return report


def test_scores_without_a_tool_stand_against_those_with_all(reported):
    contents = reported(("finetuned", "disabled"), ("finetuned", "enabled"), ("base", "disabled"))
    without = "Without a tool, against all of them"
    assert without not in [picture.caption for picture in contents.gain_pictures]
    contents = reported(
        *(("finetuned", f"without-{tool}") for tool in ("QA", "Calendar")), ("finetuned", "k-1")
    )
    (picture,) = (each for each in contents.gain_pictures if each.caption == without)
    assert re.findall(">(without-.*?|k-1)<", picture.svg) == ["without-Calendar", "without-QA"]
    assert without in page_of(contents)
