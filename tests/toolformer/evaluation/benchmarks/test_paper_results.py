"""The printed rows, checked against what the paper says about them elsewhere."""

from statistics import mean

import pytest

from toolformer.evaluation.benchmarks.catalogue import BENCHMARKS
from toolformer.evaluation.benchmarks.paper_results import PAPER_MODELS, PAPER_RESULTS

SAME_SIZE = ("GPT-J", "GPT-J + CC", "Toolformer (disabled)")


def test_every_benchmark_of_the_paper_has_all_its_models():
    of_the_paper = [name for name in BENCHMARKS if not name.startswith("xquad")]
    assert list(PAPER_RESULTS) == [*of_the_paper, "dateset"]
    assert all(tuple(scores) == PAPER_MODELS for scores in PAPER_RESULTS.values())


@pytest.mark.parametrize(
    ("name", "gain"), [("lama-squad", 11.7), ("lama-google-re", 5.2), ("lama-trex", 18.6)]
)
def test_the_gains_on_lama_are_those_of_the_text(name, gain):
    scores = PAPER_RESULTS[name]
    best = max(scores[model] for model in SAME_SIZE)
    assert scores["Toolformer"] - best == pytest.approx(gain)


@pytest.mark.parametrize(("model", "average"), [("GPT-J", 7.53), ("Toolformer", 37.93)])
def test_the_averages_in_mathematics_are_those_of_the_text(model, average):
    scores = [PAPER_RESULTS[name][model] for name in ("asdiv", "svamp", "mawps")]
    assert mean(scores) == pytest.approx(average, abs=0.005)


def test_calls_help_in_every_language():
    gains = [
        scores["Toolformer"] - scores["Toolformer (disabled)"]
        for name, scores in PAPER_RESULTS.items()
        if name.startswith("mlqa")
    ]
    assert (min(gains), max(gains)) == (pytest.approx(0.2), pytest.approx(1.8))
