"""What our engine feeds, against the batched literal engine on the same small case."""

from dataclasses import replace

from benchmarks import ours
from benchmarks.workload import calls_to_score, later_round
from toolformer.filtering import CallLosses
from toolformer.loss_form import LossForm, Placement
from toolformer.losses import ScoredCall
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


def test_more_samples_cost_our_engine_their_own_tokens_only(small):
    many = replace(small.tool, calls_per_position=6)
    ours.sample(small.model, small.tool, small.documents)
    few_tokens = small.model.tokens_fed
    ours.sample(small.model, many, small.documents)
    # 4 positions of 2 documents, 3 samples more, at most 24 tokens each, and 5 for a bracket.
    assert small.model.tokens_fed - 2 * few_tokens <= 2 * 4 * 3 * 24


def test_scoring_all_losses_feeds_less_than_half_of_the_batched_literal_tokens(small):
    calls = _calls(small.documents)
    ours.score(small.model, small.tool, small.documents, calls, full_losses=True)
    small.stock.score(small.documents, calls)
    assert 2 * small.model.tokens_fed < small.stock.tokens_fed


def test_a_later_round_feeds_less_than_half_of_the_batched_literal_tokens(small):
    tool = later_round(small.tool)
    ours.sample(small.model, tool, small.documents)
    small.stock.sample(tool, small.stock.contexts(tool, small.documents))
    assert 2 * small.model.tokens_fed < small.stock.tokens_fed
    sampled, of_stock = small.model.tokens_fed, small.stock.tokens_fed
    calls = _calls(small.documents)
    ours.score(small.model, tool, small.documents, calls, full_losses=True)
    small.stock.score(small.documents, calls, form=tool.form)
    assert 2 * (small.model.tokens_fed - sampled) < small.stock.tokens_fed - of_stock


def test_needed_work_is_each_distinct_row_once(small):
    document = small.documents[0]
    calls = _calls([document])[:3]
    losses = dict.fromkeys((call.call_id for call in calls), CallLosses(1.0, 1.0, None, 5))
    needed = ours.needed_work(small.model, [document], calls, losses)
    # ` [`, `Cal`, `culator(`, `6 * 7`, `)`, ` ->`, ` 42`, `]` behind BOS and before 18 text tokens,
    # since the 19th is only predicted; the text alone once.
    call_tokens = 1 + 1 + 8 + 5 + 1 + 1 + 3 + 1
    assert needed.tokens == (1 + 18) + (1 + call_tokens + 18)
    # Positions 2, 8 and 14 have five text tokens each, in two rows.
    assert needed.logit_rows == 2 * 15


def test_needed_work_of_calls_at_places_has_the_text_in_front_of_them_once(small):
    document = small.documents[0]
    calls = _calls([document])[:3]
    losses = dict.fromkeys((call.call_id for call in calls), CallLosses(1.0, 1.0, None, 5))
    form = LossForm(Placement.INLINE)
    needed = ours.needed_work(small.model, [document], calls, losses, form=form)
    # The text alone as above; each call has 21 tokens, and four more predict the text's second to
    # fifth behind it.
    assert needed.tokens == (1 + 18) + 3 * (21 + 4)
    assert needed.logit_rows == 2 * 15


def test_candidates_are_distinct_calls_with_a_result_of_their_arguments(small):
    samples = ours.sample(small.model, small.tool, small.documents)
    readable = [replace(sample, arguments="6 * 7", status="parsed") for sample in samples[:2]]
    duplicate = replace(samples[2], arguments="6 * 7", status="dropped")
    calls = calls_to_score(small.tool, [*readable, duplicate], small.model.tokenizer)
    assert [call.call_id for call in calls] == [sample.call_id for sample in readable]
    assert len({call.result for call in calls}) == 1


def test_needed_work_is_what_the_engine_feeds_where_nothing_is_padded(small):
    document = small.documents[0]
    calls = [
        ScoredCall(str(place), (document.document_id, document.index), place, call, "42")
        for place, call in enumerate([ToolCall("Calculator", "6 * 7"), ToolCall("Calculator", "9")])
    ]
    losses = ours.score(
        small.model, small.tool, [document], calls, full_losses=True, token_budget=1
    )
    needed = ours.needed_work(small.model, [document], calls, losses)
    # The text is fed whole for L(ε), and needed up to the last of the six tokens.
    assert needed.tokens == small.model.tokens_fed - (len(document.ids) - 6)


def test_results_are_cut_where_the_measurement_says(small):
    samples = ours.sample(small.model, small.tool, small.documents)
    readable = [replace(samples[0], arguments="Where?", status="parsed")]
    lengths = [
        len(small.model.tokenizer.encode(call.result))
        for tokens in (10, 40)
        for call in calls_to_score(
            replace(small.tool, name="WikiSearch", result_tokens=tokens),
            readable,
            small.model.tokenizer,
        )
    ]
    assert 1 <= lengths[0] <= 10 < lengths[1] <= 40
