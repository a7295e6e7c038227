"""The literal engines count what they feed, and give what our engine and the formulas give."""

from dataclasses import replace

import pytest

from benchmarks import batched_literal, ours
from benchmarks.batched_literal import LiteralEngine, stop_token_ids
from benchmarks.workload import later_round
from tests import literal
from tests.benchmarks.conftest import PROMPT, TEXTS
from tests.fakes import byte_tokenizer, tiny_model
from toolformer.calls import CallFormat, call_ids
from toolformer.filtering import decide
from toolformer.loss_form import PAPERS_FORM, LossForm, Placement
from toolformer.loss_weights import window_weights
from toolformer.losses import ScoredCall
from tools.prompting import fill_prompt
from tools.protocol import ToolCall

INLINE = LossForm(Placement.INLINE)


def _calls(documents):
    places = [
        (0, 5, "48 * 3", "144"),
        (0, 9, "48 * 3", "144"),
        (0, 0, "1 + 1", "2"),
        (1, 12, "12 + 30", "42"),
        (1, len(documents[1].ids) - 2, "7 / 2", "3.50"),
    ]
    return [
        ScoredCall(
            f"call-{number}",
            (documents[document].document_id, 0),
            position,
            ToolCall("Calculator", arguments),
            result,
        )
        for number, (document, position, arguments, result) in enumerate(places)
    ]


def _stock(batch_size: int) -> LiteralEngine:
    model = tiny_model(context_length=1024)
    return LiteralEngine(model.model, model.tokenizer, bos_id=model.bos_id, batch_size=batch_size)


def test_stop_tokens_are_those_that_hold_a_closing_bracket():
    tokenizer = byte_tokenizer()
    texts = {tokenizer.token_text(token) for token in stop_token_ids(tokenizer)}
    assert texts == {")", "]", ")]"}


def test_positions_cost_one_pass_over_prompt_and_text(small):
    small.stock.contexts(small.tool, small.documents)
    encode = small.model.tokenizer.encode
    expected = sum(len(encode(fill_prompt(PROMPT, text))) + len(encode(text)) for text in TEXTS)
    assert small.stock.tokens_fed == expected


def test_in_a_later_round_the_start_token_alone_stands_before_the_text(small):
    contexts = small.stock.contexts(later_round(small.tool), small.documents)
    texts = [list(document.ids) for document in small.documents]
    assert small.stock.tokens_fed == sum(1 + len(ids) for ids in texts)
    forced = small.model.tokenizer.encode_pieces([" [", "Calculator("])
    assert [context.ids for context in contexts] == [
        [small.model.bos_id, *context.document.ids[: context.position], *forced]
        for context in contexts
    ]


@pytest.mark.parametrize("batch_size", [4, 16])
def test_every_sample_feeds_its_padded_context_and_all_steps_of_its_batch(
    small, monkeypatch, batch_size
):
    # A token that hardly comes: some sample of each batch takes all 24 steps, of which the last is
    # not fed, and finished rows are fed with it.
    monkeypatch.setattr(
        batched_literal, "stop_token_ids", lambda tokenizer: [tokenizer.encode("€")[0]]
    )
    stock = _stock(batch_size)
    contexts = stock.contexts(small.tool, small.documents)
    before = stock.tokens_fed
    samples = stock.sample(small.tool, contexts)
    assert len(samples) == 8 * 3
    widths = [len(context.ids) for context in contexts for _ in range(3)]
    batches = [widths[start : start + batch_size] for start in range(0, 24, batch_size)]
    assert stock.tokens_fed - before == sum(len(batch) * (max(batch) + 23) for batch in batches)


def test_a_batch_whose_samples_end_at_once_feeds_the_contexts_only(small, monkeypatch):
    monkeypatch.setattr(
        batched_literal, "stop_token_ids", lambda tokenizer: list(range(tokenizer.vocabulary_size))
    )
    stock = _stock(1)
    contexts = stock.contexts(small.tool, small.documents)
    before = stock.tokens_fed
    stock.sample(small.tool, contexts)
    assert stock.tokens_fed - before == 3 * sum(len(context.ids) for context in contexts)


def test_every_so_manieth_sample_is_drawn(small):
    contexts = small.stock.contexts(small.tool, small.documents)
    assert len(small.stock.sample(small.tool, contexts, every=5)) == 5


@pytest.mark.parametrize("form", [PAPERS_FORM, INLINE], ids=["in front", "at its place"])
def test_scoring_feeds_three_padded_rows_for_each_call(small, form):
    call = _calls(small.documents)[0]
    # BOS and the text to position 5 + 5; ` [`, `C al`, `culator(`, … one token per byte but for
    # ` [`, `Cal` and ` ->`.
    text = 1 + 10
    call_tokens = 1 + 1 + len("culator(") + len("48 * 3") + len(")")
    without_result, with_result = call_tokens + 2, call_tokens + 1 + len(" 144") + 1
    small.stock.score(small.documents, [call], form=form)
    assert small.stock.tokens_fed == 3 * (text + with_result)
    assert small.stock.useful_tokens == 3 * text + without_result + with_result
    assert small.stock.logit_rows == 15


def test_sorted_rows_need_less_padding_and_give_the_same_losses(small):
    calls = _calls(small.documents)
    small.stock.batch_size = 4
    unsorted = small.stock.score(small.documents, calls)
    fed = small.stock.tokens_fed
    in_order = small.stock.score(small.documents, calls, is_sorted=True)
    assert small.stock.tokens_fed - fed < fed
    for call in calls:
        left, right = unsorted[call.call_id], in_order[call.call_id]
        assert left.loss_with_result == pytest.approx(right.loss_with_result, abs=1e-5)


def test_batched_losses_are_those_of_the_formulas(small):
    calls = _calls(small.documents)
    losses = small.stock.score(small.documents, calls)
    for call in calls:
        text = TEXTS[int(call.window[0].removeprefix("document-"))]
        expected = literal.call_losses(small.model, text, call.position, call.call, call.result)
        got = losses[call.call_id]
        assert got.loss_without_call == pytest.approx(expected.loss_without_call, abs=1e-5)
        assert got.loss_with_result == pytest.approx(expected.loss_with_result, abs=1e-5)
        assert got.loss_call_without_result == pytest.approx(
            expected.loss_call_without_result, abs=1e-5
        )


@pytest.mark.parametrize(
    "form",
    [INLINE, LossForm(Placement.INLINE, window_weights(8, are_linear=False))],
    ids=["five tokens", "eight tokens"],
)
def test_batched_losses_at_places_are_those_of_the_formulas(small, form):
    calls = _calls(small.documents)
    losses = small.stock.score(small.documents, calls, form=form)
    ids_of = {document.document_id: list(document.ids) for document in small.documents}
    for call in calls:

        def expected(ids, call=call):
            text = ids_of[call.window[0]]
            return literal.inline_loss(small.model, ids, text, call.position, [*form.weights])

        def ids_with(result, call=call):
            tokenizer = small.model.tokenizer
            return call_ids(tokenizer, call.call, result, call_format=CallFormat())

        got = losses[call.call_id]
        assert got.loss_without_call == pytest.approx(expected([]), abs=1e-5)
        assert got.loss_with_result == pytest.approx(expected(ids_with(call.result)), abs=1e-5)
        assert got.loss_call_without_result == pytest.approx(expected(ids_with(None)), abs=1e-5)


@pytest.mark.parametrize("form", [PAPERS_FORM, INLINE], ids=["in front", "at its place"])
def test_batched_losses_and_decisions_are_those_of_our_engine(small, form):
    calls = _calls(small.documents)
    tool = replace(small.tool, form=form)
    expected = small.stock.score(small.documents, calls, form=form)
    full = ours.score(small.model, tool, small.documents, calls, full_losses=True)
    pruned = ours.score(small.model, tool, small.documents, calls)
    for call in calls:
        got, wanted = full[call.call_id], expected[call.call_id]
        assert got.tokens_used == wanted.tokens_used
        assert got.loss_without_call == pytest.approx(wanted.loss_without_call, abs=1e-4)
        assert got.loss_with_result == pytest.approx(wanted.loss_with_result, abs=1e-4)
        assert got.loss_call_without_result == pytest.approx(
            wanted.loss_call_without_result, abs=1e-4
        )
        for threshold in (-0.5, 0.0, 0.5):
            keeps = decide(wanted, filtering_threshold=threshold).is_kept
            assert decide(got, filtering_threshold=threshold).is_kept == keeps
        is_kept = decide(wanted, filtering_threshold=0.5).is_kept
        assert decide(pruned[call.call_id], filtering_threshold=0.5).is_kept == is_kept


@pytest.mark.parametrize("is_later", [False, True], ids=["first round", "later round"])
def test_both_choose_the_same_positions_with_the_same_probabilities(small, is_later):
    tool = later_round(small.tool) if is_later else small.tool
    expected = {
        (context.document.document_id, context.position): context.call_probability
        for context in small.stock.contexts(tool, small.documents)
    }
    samples = ours.sample(small.model, tool, small.documents)
    got = {(sample.document_id, sample.position): sample.call_probability for sample in samples}
    assert got == pytest.approx(expected, abs=1e-6)
    assert len(got) == 8


def test_a_probability_is_the_one_of_the_formula(small):
    context = small.stock.contexts(small.tool, small.documents)[1]
    expected = literal.call_probability(small.model, PROMPT, TEXTS[0], context.position)
    assert context.call_probability == pytest.approx(expected, abs=1e-6)
