"""Which scores are compared, and how they are laid out."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from assets.evaluation.comparisons import compare, compared
from assets.evaluation.tables import gains
from assets.inputs import InputChangedError
from tests.warehouse.rows import new_warehouse, put
from toolformer.home.home import Home
from toolformer.settings.sections import Settings
from warehouse.warehouse import Warehouse

# Of five items each; the first is right.
SCORES = {
    ("base", "disabled"): [1, 0, 0, 0, 0],
    ("plain", "disabled"): [1, 1, 0, 0, 0],
    ("finetuned", "disabled"): [1, 0, 0, 0, None],
    ("finetuned", "enabled"): [1, 1, 1, 1, 0],
}


@pytest.fixture
def store(tmp_path) -> Warehouse:
    warehouse = new_warehouse(tmp_path)
    for (model, mode), scores in SCORES.items():
        put_scores(warehouse, model, mode, scores)
    return warehouse


def compared_in(store: Warehouse) -> dict[str, str]:
    home = Home(store.folder.parent)
    run: Any = SimpleNamespace(home=home, warehouse=store, settings=Settings(), force=False)
    return dict(compare(run))


def put_scores(
    warehouse: Warehouse, model: str, mode: str, scores: list, *, gold: str = ""
) -> None:
    same = {"benchmark": "svamp", "model": model, "mode": mode, "gold": gold}
    rows = [{**same, "item_id": str(item), "score": score} for item, score in enumerate(scores)]
    name, fingerprint = f"svamp.{model}.{mode}.0000", f"{model} {mode} {scores} {gold}"
    put(warehouse, "evaluation_results", *rows, name=name, fingerprint=fingerprint)


def test_modes_of_a_model_and_models_in_a_mode_are_compared():
    pairs = {(*cell, *other) for cell, other in compared(SCORES)}
    assert pairs == {
        ("plain", "disabled", "base", "disabled"),
        ("finetuned", "disabled", "base", "disabled"),
        ("finetuned", "disabled", "plain", "disabled"),
        ("finetuned", "enabled", "finetuned", "disabled"),
        # The paper's baselines, which have no calls.
        ("finetuned", "enabled", "base", "disabled"),
        ("finetuned", "enabled", "plain", "disabled"),
    }


def test_a_further_mode_is_compared_with_the_same_models_own():
    cells = [("base", mode) for mode in ("enabled", "disabled", "without-QA", "k-1")]
    pairs = {(cell.mode, other.mode) for cell, other in compared(cells)}
    assert pairs == {
        ("enabled", "disabled"),
        *((mode, other) for mode in ("without-QA", "k-1") for other in ("enabled", "disabled")),
    }


def test_only_items_that_both_answered_are_compared(store: Warehouse):
    assert compared_in(store) == {"svamp": "accuracy"}
    differences = store.view("evaluation_difference")
    gained = gains(differences, model="finetuned").row(0, named=True)
    assert (gained["items"], gained["better"], gained["worse"]) == (4, 3, 0)
    assert gained["difference"] == 75.0
    assert gained["p_value"] == pytest.approx(0.25)
    assert gained["verdict"] == "unclear"


def test_items_of_one_name_are_not_compared_where_they_are_other_questions(store: Warehouse):
    put_scores(store, "finetuned", "enabled", [1, 1, 1, 1, 0], gold="of a newer file")
    compared_in(store)
    differences = store.view("evaluation_difference").filter(model="finetuned")
    assert set(differences["mode"]) == {"disabled"}


def test_windows_that_are_other_tokens_to_another_model_are_not_compared(store: Warehouse):
    """Losses per token of vocabularies of two sizes say nothing beside each other."""
    for model, tokens in (("base", 10.0), ("finetuned", 10.0), ("other", 7.0)):
        text = {"benchmark": "wiki", "metric": "perplexity", "mode": "disabled", "model": model}
        row = text | {"score": 3.0, "score_weight": tokens}
        put(store, "evaluation_results", row, name=f"wiki.{model}", fingerprint=model)
    compared_in(store)
    differences = store.view("evaluation_difference").filter(benchmark="wiki")
    assert differences.select("model", "other_model").rows() == [("finetuned", "base")]


def test_a_benchmark_that_has_no_score_any_more_has_none_in_the_table(store: Warehouse):
    compared_in(store)
    for model, mode in SCORES:
        put_scores(store, model, mode, [None] * 5)
    compared_in(store)
    assert store.view("evaluation_table").filter(source="ours").is_empty()
    assert store.view("evaluation_difference").is_empty()


def test_comparisons_are_made_again_where_scores_changed(store: Warehouse):
    def versions() -> list[Path]:
        tables = ("score_intervals", "paired_differences")
        return [each.path for table in tables for each in store.partitions(table)]

    compared_in(store)
    before = versions()
    compared_in(store)
    assert versions() == before
    put_scores(store, "finetuned", "enabled", [0, 0, 0, 0, 0])
    compared_in(store)
    assert not set(versions()) & {path for path in before if path.name.startswith("svamp")}


def while_comparing(monkeypatch: pytest.MonkeyPatch, store: Warehouse, runs: Iterator) -> list[str]:
    """Each time that scores have been read, another run stores its own; what is asked for."""
    ask = Warehouse.ask
    asked = []

    def ask_beside_others(self: Warehouse, query: str, **values: str) -> pl.DataFrame:
        asked.append(query)
        rows = ask(self, query, **values)
        scores = next(runs, None) if query == "item_scores" else None
        if scores is not None:
            put_scores(store, "finetuned", "enabled", scores)
        return rows

    monkeypatch.setattr(Warehouse, "ask", ask_beside_others)
    return asked


def test_scores_that_another_run_replaces_meanwhile_are_compared_again(
    store: Warehouse, monkeypatch
):
    runs = iter([[1, 1, 1, 1, 1], [0, 0, 0, 0, 0]])
    asked = while_comparing(monkeypatch, store, runs)
    compared_in(store)
    # Once for both tables, three times in all.
    assert asked == ["measured_benchmarks", *["item_scores"] * 3]
    table = store.view("evaluation_table").filter(model="finetuned", mode="enabled")
    assert table["score"].to_list() == [0.0]
    against = store.view("evaluation_difference").filter(model="finetuned", mode="enabled")
    assert against["better"].sum() == 0


def test_scores_that_change_again_and_again_are_an_error(store: Warehouse, monkeypatch):
    while_comparing(monkeypatch, store, ([n % 2] * 5 for n in count()))
    with pytest.raises(InputChangedError, match=r"svamp\.finetuned\.enabled\.0000 was replaced"):
        compared_in(store)
