"""What our engine feeds, against the batched literal engine on the same small case."""

from benchmarks import ours
from benchmarks.workload import later_round
from toolformer.scoring.call_scorer import ScoredCall
from tools.protocol import ToolCall


def _calls(documents):
    """The same call at three positions of both documents, and another at two."""
    return [
        ScoredCall(
            f"{document.document_id}-{arguments}-{position}",
            (document.document_id, 0),
            position,
            ToolCall("Calculator", arguments),
            result,
        )
        for document in documents
        for arguments, result, positions in (("6 * 7", "42", (2, 8, 14)), ("1 / 3", "0.33", (6, 9)))
        for position in positions
    ]


def test_sampling_feeds_a_fifth_of_the_batched_literal_tokens(small):
    ours.sample(small.model, small.tool, small.documents)
    small.stock.sample(small.tool, small.stock.contexts(small.tool, small.documents))
    assert 5 * small.model.tokens_fed <= small.stock.tokens_fed


def test_a_later_round_feeds_less_than_half_of_the_batched_literal_tokens(small):
    tool = later_round(small.tool)
    ours.sample(small.model, tool, small.documents)
    small.stock.sample(tool, small.stock.contexts(tool, small.documents))
    assert 2 * small.model.tokens_fed < small.stock.tokens_fed
    sampled, of_stock = small.model.tokens_fed, small.stock.tokens_fed
    calls = _calls(small.documents)
    ours.score(small.model, tool, small.documents, calls, full_losses=True)
    small.stock.score(small.documents, calls, scoring=tool.scoring)
    assert 2 * (small.model.tokens_fed - sampled) < small.stock.tokens_fed - of_stock
