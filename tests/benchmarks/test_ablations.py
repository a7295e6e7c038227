"""A reduction that is switched off costs tokens, and the rest stays as it is."""

import pytest

from benchmarks.ablations import Ablations
from toolformer.losses import ScoredCall
from tools.protocol import ToolCall


@pytest.fixture
def ablations(small) -> Ablations:
    made = Ablations(small.model, small.tool, small.documents)
    # A random model writes few calls, so they are given: one call at three positions, and another.
    made.calls = [
        ScoredCall(
            f"{document.document_id}-{position}",
            (document.document_id, 0),
            position,
            ToolCall("Calculator", "6 * 7" if position < 12 else "1 + 1"),
            "42",
        )
        for document in small.documents
        for position in (2, 5, 11, 14)
    ]
    return made


def test_each_reduction_of_sampling_saves_tokens(ablations, small):
    measures = ablations.sampling()
    calls = ablations.calls
    fed = {name: measure().tokens_fed for name, measure in measures.items()}
    ablations.calls = calls
    all_on = fed.pop("all on")
    prompt_tokens = len(small.model.tokenizer.encode(small.tool.prompt.partition(" {text}")[0]))
    assert fed.pop("prompt prefix shared") == all_on + 2 * prompt_tokens
    assert fed.pop("one reading of a text for its positions") > 1.5 * all_on
    assert fed.pop("one reading of a text for all samples") > 3 * all_on
    # These two save time or candidates, not always tokens.
    assert set(fed) == {"several documents at once", "constrained sampling"}


def test_each_reduction_of_scoring_saves_tokens(ablations):
    measures = ablations.scoring()
    costs = {name: measure() for name, measure in measures.items()}
    all_on = costs.pop("all on")
    assert all(cost.candidates == 8 for cost in costs.values())
    assert costs.pop("one pass per text for L(ε)").tokens_fed > all_on.tokens_fed
    assert costs.pop("equal calls of a text in one row").tokens_fed > all_on.tokens_fed
    # Whether a call is lost early depends on the weights; never does it cost more.
    assert costs.pop("order and pruning").tokens_fed >= all_on.tokens_fed
    # Alone in its batch a row needs no padding, and is slow.
    assert costs.pop("rows in batches").tokens_fed <= all_on.tokens_fed
    assert not costs


def test_a_part_that_is_timed_is_scaled_to_all(ablations, small):
    few = ablations._repeated(small.tool, 5)
    many = ablations._repeated(small.tool, 10)
    assert many.tokens_fed == 2 * few.tokens_fed
    assert many.documents == 2
