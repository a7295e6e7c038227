import math

import pytest

from toolformer.evaluation.perplexity import PerplexityRow, perplexity_row


def test_the_loss_of_a_text_is_the_mean_over_its_tokens():
    assert perplexity_row([1.0, 1.0, 1.0, 5.0]) == PerplexityRow(2.0, 4)


def test_an_empty_text_is_left_out_with_its_reason():
    assert perplexity_row([]) == PerplexityRow(None, 0, "empty")


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_non_finite_loss_leaves_the_text_out_with_its_reason(loss):
    assert perplexity_row([1.0, loss]) == PerplexityRow(None, 2, "non_finite_loss")
