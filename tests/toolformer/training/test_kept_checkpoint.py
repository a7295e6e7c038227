"""Which checkpoint of a training is kept."""

import math

import pytest

from toolformer.training.training_state import DevelopmentLoss, Progress, StepReport


def kept_of(*measured: tuple[float, float, float | None]) -> int:
    """The number of the checkpoint that is kept; each has a perplexity, a mean and a call loss."""
    progress = Progress(base=DevelopmentLoss(3, 3))
    for step, (perplexity, mean, calls) in enumerate(measured, start=1):
        without_calls = math.log(perplexity)
        loss = DevelopmentLoss(2 * mean - without_calls, without_calls, calls)
        if progress.is_better(loss):
            progress.best_step, progress.best = step, loss
        progress.history.append(StepReport(step, 1, 1, 1, loss.perplexity, loss.mean, loss.calls))
    assert progress.best_step is not None
    return progress.best_step


@pytest.mark.parametrize(
    ("measured", "kept"),
    [
        pytest.param([(10, 2, 0.9), (10.4, 2.1, 0.5)], 2, id="calls are likelier later"),
        pytest.param([(10, 2, 0.5), (9.9, 1.9, 0.5)], 1, id="the first of equal ones"),
        pytest.param([(10, 2, 0.9), (10.6, 1.9, 0.1)], 1, id="language was lost"),
        pytest.param([(12, 2, 0.1), (10, 2, 0.9)], 2, id="language was learnt since"),
        pytest.param([(10, 2, 0.9), (10.4, 2, 0.8), (10.8, 2, 0.1)], 2, id="lost in small steps"),
        pytest.param([(10, 2, None), (10.4, 1.9, None)], 2, id="without calls, by all tokens"),
        pytest.param([(10, 2, None), (10.4, 2.1, None)], 1, id="without calls, no better"),
    ],
)
def test_the_one_to_whom_the_calls_are_likeliest_is_kept_unless_it_lost_language(measured, kept):
    assert kept_of(*measured) == kept
