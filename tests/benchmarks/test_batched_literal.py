"""The literal engines count what they feed, and give what our engine and the formulas give."""

import pytest

from benchmarks import batched_literal
from benchmarks.batched_literal import LiteralEngine, stop_token_ids
from tests import literal
from tests.fakes import byte_tokenizer, tiny_model
from toolformer.calls import call_ids
from toolformer.scoring.call_scorer import ScoredCall
from toolformer.settings.annotation_sections import ScoringSettings
from tools.protocol import ToolCall

INLINE = ScoringSettings(placement="inline")


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


@pytest.mark.parametrize("scoring", [ScoringSettings(), INLINE], ids=["in front", "at its place"])
def test_scoring_feeds_three_padded_rows_for_each_call(small, scoring):
    call = _calls(small.documents)[0]
    # BOS and the text to position 5 + 5; ` [`, `C al`, `culator(`, … one token per byte but for
    # ` [`, `Cal` and ` ->`.
    text = 1 + 10
    call_tokens = 1 + 1 + len("culator(") + len("48 * 3") + len(")")
    with_result = call_tokens + 1 + len(" 144") + 1
    small.stock.score(small.documents, [call], scoring=scoring)
    assert small.stock.tokens_fed == 3 * (text + with_result)


@pytest.mark.parametrize(
    "scoring",
    [
        ScoringSettings(),
        INLINE,
        ScoringSettings(placement="inline", window_tokens=8, window_weights="uniform"),
    ],
    ids=["in front", "at its place", "eight tokens"],
)
def test_batched_losses_are_those_of_the_formulas(small, scoring):
    calls = _calls(small.documents)
    losses = small.stock.score(small.documents, calls, scoring=scoring)
    ids_of = {document.document_id: list(document.ids) for document in small.documents}
    for call in calls:
        with_result, without_result = (
            call_ids(small.model.tokenizer, call.call, result) for result in (call.result, None)
        )
        got = losses[call.call_id]
        for loss, written in (
            (got.loss_without_call, []),
            (got.loss_with_result, with_result),
            (got.loss_call_without_result, without_result),
        ):
            expected = literal.form_loss(
                small.model,
                written,
                ids_of[call.window[0]],
                call.position,
                [*scoring.token_weights],
                is_inline=scoring.placement == "inline",
            )
            assert loss == pytest.approx(expected, abs=1e-5)
