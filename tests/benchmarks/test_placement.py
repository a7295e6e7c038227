"""The comparison of the two placements on a small case."""

from benchmarks.placement import FORMS, compare
from toolformer.losses import ScoredCall
from tools.protocol import ToolCall


def test_each_form_scores_the_same_calls_and_says_what_it_fed(small):
    calls = [
        ScoredCall(
            f"{document.document_id}-{position}",
            (document.document_id, 0),
            position,
            ToolCall("Calculator", "6 * 7"),
            "42",
        )
        for document in small.documents
        for position in range(1, len(document.ids) - 1)
    ]
    costs = compare(small.model, [(small.documents, calls)])
    assert list(costs) == list(FORMS)
    assert {cost.candidates for cost in costs.values()} == {len(calls)}
    texts = sum(len(document.ids) for document in small.documents)
    assert all(cost.tokens_fed > texts for cost in costs.values())
    assert all(cost.seconds > 0 for cost in costs.values())
