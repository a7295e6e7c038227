"""The paper's rows, checked against what the paper says about them elsewhere."""

from statistics import mean

import pytest

from toolformer.settings.evaluation_sections import BENCHMARKS
from warehouse.warehouse import Warehouse

PAPER_MODELS = (
    *("GPT-J", "GPT-J + CC", "Toolformer (disabled)", "Toolformer"),
    *("OPT (66B)", "GPT-3 (175B)"),
)
SAME_SIZE = ("GPT-J", "GPT-J + CC", "Toolformer (disabled)")


@pytest.fixture(scope="module")
def paper(shared_warehouse: Warehouse) -> dict[str, dict[str, float]]:
    """Scores by benchmark and model, in the order of the view."""
    scores: dict[str, dict[str, float]] = {}
    for row in shared_warehouse.view("paper_results").iter_rows(named=True):
        scores.setdefault(row["benchmark"], {})[row["model"]] = row["score"]
    return scores


def test_every_benchmark_of_the_paper_has_all_its_models(paper):
    of_the_paper = [name for name in BENCHMARKS if name not in ("popqa", "trex11k")]
    assert list(paper) == [*of_the_paper, "dateset"]
    assert all(tuple(scores) == PAPER_MODELS for scores in paper.values())


@pytest.mark.parametrize(
    ("name", "gain"), [("lama-squad", 11.7), ("lama-google-re", 5.2), ("lama-trex", 18.6)]
)
def test_the_gains_on_lama_are_those_of_the_text(paper, name, gain):
    scores = paper[name]
    best = max(scores[model] for model in SAME_SIZE)
    assert scores["Toolformer"] - best == pytest.approx(gain)


@pytest.mark.parametrize(("model", "average"), [("GPT-J", 7.53), ("Toolformer", 37.93)])
def test_the_averages_in_mathematics_are_those_of_the_text(paper, model, average):
    scores = [paper[name][model] for name in ("asdiv", "svamp", "mawps")]
    assert mean(scores) == pytest.approx(average, abs=0.005)
