import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolformer.evaluation.perplexity import (
    PerplexityRow,
    corpus_perplexity,
    perplexity_row,
    perplexity_rows,
)

losses = st.floats(0, 20)


def test_every_token_weighs_the_same():
    result = corpus_perplexity(perplexity_rows([[1.0, 1.0, 1.0], [5.0]]))
    assert result.mean_loss == pytest.approx(2.0)
    assert result.perplexity == pytest.approx(math.exp(2.0))
    assert (result.tokens, result.texts) == (4, 2)


def test_a_uniform_model_has_the_vocabulary_size_as_perplexity():
    result = corpus_perplexity(perplexity_rows([[math.log(50)] * 7, [math.log(50)] * 3]))
    assert result.perplexity == pytest.approx(50)


def test_an_empty_text_is_left_out_with_its_reason():
    assert perplexity_row([]) == PerplexityRow(None, 0, "empty")
    result = corpus_perplexity(perplexity_rows([[], [2.0]]))
    assert (result.mean_loss, result.texts, result.empty_texts) == (2.0, 1, 1)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_non_finite_loss_is_counted_and_does_not_spoil_the_others(loss):
    assert perplexity_row([1.0, loss]) == PerplexityRow(None, 2, "non_finite_loss")
    result = corpus_perplexity(perplexity_rows([[1.0, loss], [2.0]]))
    assert (result.mean_loss, result.tokens, result.non_finite_texts) == (2.0, 1, 1)


def test_nothing_to_measure_gives_no_perplexity():
    result = corpus_perplexity(perplexity_rows([[], [math.nan]]))
    assert (result.perplexity, result.mean_loss, result.tokens) == (None, None, 0)
    assert corpus_perplexity([]).perplexity is None


def test_a_perplexity_too_large_for_a_float_is_infinite():
    assert corpus_perplexity([PerplexityRow(1000.0, 1)]).perplexity == math.inf


@given(st.lists(st.lists(losses, max_size=5), max_size=6))
def test_texts_together_give_the_mean_over_all_tokens(texts):
    result = corpus_perplexity(perplexity_rows(texts))
    joined = perplexity_row([loss for text in texts for loss in text])
    assert result.tokens == joined.tokens
    assert result.mean_loss == pytest.approx(joined.mean_loss)
