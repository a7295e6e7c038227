"""Which checkpoint of a training is kept."""

import math
import random

import pytest
import torch

from tests.toolformer.training.tiny import weights
from toolformer.training.progress import DevelopmentLoss, Progress, StepReport
from toolformer.training.trainer import Trainer


def measured(step, perplexity, mean, calls):
    return StepReport(step, 1, 1, 1, perplexity, mean, calls)


def kept_of(*losses: tuple[float, float, float | None]) -> int:
    """The number of the checkpoint that is kept; each has a perplexity, a mean and a call loss.

    Only what may still be kept stays on disk.
    """
    progress, stored = Progress(base=DevelopmentLoss(3, 3)), set()
    for step, each in enumerate(losses, start=1):
        progress.history.append(measured(step, *each))
        stored = {*stored, step} & set(progress.candidates)
        assert progress.best.step in stored
    return progress.best.step


@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        pytest.param([(10, 2, 0.9), (10.4, 2.1, 0.5)], 2, id="calls are likelier later"),
        pytest.param([(10, 2, 0.5), (9.9, 1.9, 0.5)], 1, id="the first of equal ones"),
        pytest.param([(10, 2, 0.9), (10.6, 1.9, 0.1)], 1, id="language was lost"),
        pytest.param([(12, 2, 0.1), (10, 2, 0.9)], 2, id="language was learnt since"),
        pytest.param([(10, 2, 0.9), (10.4, 2, 0.8), (10.8, 2, 0.1)], 2, id="lost in small steps"),
        pytest.param([(10, 2, 0.9), (10.4, 2, 0.5), (9.8, 2, 0.95)], 1, id="an earlier best again"),
        pytest.param([(10, 2, None), (10.4, 1.9, None)], 2, id="without calls, by all tokens"),
        pytest.param([(10, 2, None), (10.4, 2.1, None)], 1, id="without calls, no better"),
    ],
)
def test_the_one_to_whom_the_calls_are_likeliest_is_kept_unless_it_lost_language(losses, kept):
    assert kept_of(*losses) == kept


def test_random_curves_keep_what_the_documented_rule_says():
    drawn = random.Random(0)
    for _ in range(20_000):
        losses = [
            # Rounded, so that some are equal.
            (round(drawn.uniform(20, 22), 1), 2.0, round(drawn.uniform(0, 1), 1))
            for _ in range(drawn.randint(1, 8))
        ]
        lowest = min(perplexity for perplexity, *_ in losses)
        within = [
            (calls, step)
            for step, (perplexity, _, calls) in enumerate(losses, start=1)
            if perplexity / lowest - 1 <= 0.05
        ]
        assert kept_of(*losses) == min(within)[1]


def test_a_training_ends_where_three_measurements_in_a_row_were_not_the_best_of_their_time():
    progress = Progress(base=DevelopmentLoss(3, 3))
    is_over = []
    # The fourth excludes the third, so that the first is the best again.
    for step, perplexity in enumerate((10, 10.2, 10.4, 9.8, 9.9, 9.9, 9.9), start=1):
        progress.history.append(measured(step, perplexity, 2, 0.9 - step / 10 if step < 4 else 1))
        is_over.append(progress.is_over(100))
    assert is_over == [False] * 5 + [True] * 2


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [None, 3, 4])
def test_the_weights_of_an_earlier_checkpoint_are_there_when_it_is_the_best_again(
    run, tmp_path, monkeypatch, stop_at
):
    run("short", steps=1, evaluations=1)
    losses = [(10, 2), (10, 0.9), (10.4, 0.5), (9.8, 0.95), (9.9, 0.95)]

    def development_loss(_, step):
        perplexity, calls = losses[step]
        return DevelopmentLoss(2, math.log(perplexity), calls)

    monkeypatch.setattr(Trainer, "_development_loss", development_loss)
    settings = {"steps": 4, "evaluations": 4, "save_every": 2}
    if stop_at is not None:
        with pytest.raises(KeyboardInterrupt):
            run("long", stop_at=stop_at, **settings)
    result, _ = run("long", **settings)
    assert result.best.step == 1
    found, expected = weights(tmp_path / "long"), weights(tmp_path / "short")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
