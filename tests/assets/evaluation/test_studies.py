"""What the studies show of what was measured, without a model."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from assets.evaluation import studies
from assets.evaluation.measured import TABLE
from assets.evaluation.measuring import Measuring
from assets.run import Workspace
from dagster_project.definitions import definitions
from tests.warehouse.rows import put
from toolformer.evaluation.modes import Mode
from toolformer_home.home import Home
from toolformer_home.plots.files import ADDRESS
from toolformer_home.settings.sections import Settings, validated
from toolformer_home.wiring.evaluated_models import EvaluatedModel


class Measured:
    """Stands for `Measuring`: two items of every benchmark, the first one right."""

    def __init__(self, root: Path, settings: Settings):
        self.run: Any = Workspace(settings, Home(root))
        self.run.force = False
        self.tools = SimpleNamespace(tools={"Calculator": None, "QA": None})
        self.states: dict[str, Counter[str]] = {}

    def measure(self, name: str, model: EvaluatedModel, modes: list[Mode]) -> None:
        for mode in modes:
            same = {"benchmark": name, "model": model.name, "mode": mode.name}
            used = {"call_top_k": mode.call_top_k, "without_tool": mode.without_tool}
            rows = [
                {**same, **used, "metric": "accuracy", "item_id": str(item), "score": 1 - item}
                for item in range(2)
            ]
            place = f"{name}.{model.name}.{mode.name}.0000"
            put(self.run.warehouse, TABLE, *rows, name=place, fingerprint=place)
        self.states[f"{name} with {model.name}"] = Counter(done=len(modes))


def studied(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *benchmarks: str
) -> dict[str, Any]:
    """The metadata of a study, by name."""
    settings = validated(
        {"evaluation": {"benchmarks": list(benchmarks), "models": {"large": "large"}}},
        origin="test",
    )
    work = Measured(tmp_path, settings)
    # Of an earlier study; the paper's lines are there, too.
    work.measure("nq", EvaluatedModel(tmp_path, name="finetuned"), [Mode("k-7", 7)])
    monkeypatch.setattr(Measuring, "open", lambda *_: work)
    monkeypatch.setattr(
        studies, "evaluated_model", lambda key, *_: EvaluatedModel(tmp_path / key, name=key)
    )
    monkeypatch.setattr(studies, "parameter_count", lambda _: 10**8)
    result = dg.materialize([definitions().get_assets_def(name)], resources=definitions().resources)
    (event,) = result.get_asset_materialization_events()
    return {key: each.value for key, each in event.materialization.metadata.items()}


@pytest.mark.parametrize(
    ("name", "plot", "table", "lines", "states"),
    [
        ("call_top_k_study", None, "table", 4, {"finetuned": "4 done"}),
        # Two tools, each against both.
        ("tool_study", "scores without a tool", "against all tools", 2, {"finetuned": "4 done"}),
        (
            "model_size_study",
            *("scores by size", "table", 6),
            dict.fromkeys(("base", "finetuned", "large"), "2 done"),
        ),
    ],
)
def test_a_study_shows_its_own_benchmarks_models_and_modes(
    name, plot, table, lines, states, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shown = studied(name, tmp_path, monkeypatch, "svamp", "perplexity")
    if plot is not None:
        assert shown[plot].startswith(f"{ADDRESS}/{name}/{plot.replace(' ', '-')}-")
        assert (Path(shown["folder of the plots"]) / Path(shown[plot]).name).is_file()
    rows = shown[table].splitlines()[2:]
    assert ["svamp" in row for row in rows] == [True] * lines
    assert {name: shown[f"state of svamp with {name}"] for name in states} == states
