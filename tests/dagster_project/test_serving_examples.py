"""Which examples `toolformer serve` hands to the page: those of the model that it serves."""

from pathlib import Path

import pytest

from dagster_project.commands.serve import correctly_answered_examples
from tests.warehouse.rows import put
from toolformer.home.home import Home
from toolformer.home.wiring.models import finetuned_model_directory
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.sections import Settings
from warehouse.warehouse import Warehouse


@pytest.fixture
def measured(home: Home, warehouse: Warehouse) -> Home:
    for model in ("finetuned", "base", "finetuned-round-2"):
        right = {"model": model, "mode": "enabled", "called_tool": "QA", "prompt": f"Of {model}"}
        without = right | {"mode": "disabled", "called_tool": None}
        put(warehouse, "evaluation_results", right, without, name=f"dateset.{model}")
    return home


def test_examples_are_those_that_the_served_model_got_right(measured: Home):
    settings = Settings()
    finetuned = finetuned_model_directory(Workspace(settings, measured))
    base = Path("base")
    for name, directory, shown in (
        (None, finetuned, [("QA", "Of finetuned")]),
        ("finetuned", finetuned, [("QA", "Of finetuned")]),
        # Without a finetuned model.
        (None, base, [("QA", "Of base")]),
        ("base", base, [("QA", "Of base")]),
        ("/elsewhere", Path("/elsewhere"), []),
    ):
        assert correctly_answered_examples(name, directory, Workspace(settings, measured)) == shown


def test_examples_of_a_later_round_are_those_of_its_model(measured: Home):
    settings = Settings.model_validate({"sampling": {"round": 2}, "training": {"rounds": [1, 2]}})
    finetuned = finetuned_model_directory(Workspace(settings, measured))
    found = correctly_answered_examples(None, finetuned, Workspace(settings, measured))
    assert found == [("QA", "Of finetuned-round-2")]


def test_a_home_that_measured_nothing_has_no_examples(home: Home, warehouse: Warehouse):
    assert warehouse.folder.is_dir()
    work = Workspace(Settings(), home)
    assert correctly_answered_examples(None, finetuned_model_directory(work), work) == []
