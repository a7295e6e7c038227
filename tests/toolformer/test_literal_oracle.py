"""The engine against the literal formulas, on the embedded model in float32."""

import json
from importlib.resources import files

import pytest

from tests import literal
from tests.fakes import sampling_parameters
from toolformer.call_scorer import Pruning, ScoringParameters
from toolformer.calls import CallFormat
from toolformer.filtering import decide
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.prefix_cache import compute_prompt_prefix
from toolformer.forward.windows import Window, split_into_windows
from toolformer.losses import ScoredCall, scorer_for
from toolformer.samples import (
    CallReader,
    SampledCall,
    branch_uniforms,
    forced_text,
    sample_text_of,
)
from toolformer.sampling import sample_calls, sample_shard
from tools.protocol import ToolCall

pytestmark = [pytest.mark.model, pytest.mark.slow]

TEXTS = (
    "The bakery sold 48 loaves at 3 crowns each, so it took 144 crowns before noon.",
    "Mount Etna – auf Sizilien „der Berg“ 🌋 – last erupted in 2021, and it is a [sic] volcano.",
    "Rain.",
)
PARAMETERS = sampling_parameters()


# Shorter than the shipped prompt: the literal engine feeds it again for every single token.
PROMPT = (
    "Add calls to a calculator.\n\n"
    "Input: Six crates of 24 make 6 * 24 = 144 bottles.\n"
    "Output: Six crates of 24 make 6 * 24 = [Calculator(6 * 24)] 144 bottles.\n\n"
    "Input: {text}\nOutput:"
)


@pytest.fixture(scope="module")
def windows(embedded_model) -> list[Window]:
    return [
        window
        for number, text in enumerate(TEXTS)
        for window in split_into_windows(
            f"document-{number}", text, embedded_model.tokenizer, window_tokens=64
        )
    ]


@pytest.fixture(scope="module")
def samples(embedded_model, windows):
    prefix = compute_prompt_prefix(embedded_model, PROMPT)
    return sample_calls(
        embedded_model,
        prefix,
        windows,
        tool_name="Calculator",
        takes_arguments=True,
        parse_arguments=lambda text: text,
        parameters=PARAMETERS,
    )


def test_call_probabilities_equal_the_literal_ones(embedded_model, samples):
    places = {(row.document_id, row.position): row.call_probability for row in samples}
    assert len(places) >= 5
    for (document_id, position), probability in places.items():
        text = TEXTS[int(document_id.removeprefix("document-"))]
        expected = literal.call_probability(embedded_model, PROMPT, text, position)
        assert probability == pytest.approx(expected, abs=1e-5)


def test_the_chosen_positions_are_the_most_probable_ones(embedded_model, samples):
    text = TEXTS[2]
    count = len(embedded_model.tokenizer.encode(text))
    literal_probabilities = [
        literal.call_probability(embedded_model, PROMPT, text, position)
        for position in range(count)
    ]
    expected = sorted(range(count), key=lambda p: -literal_probabilities[p])[:2]
    chosen = {row.position for row in samples if row.document_id == "document-2"}
    assert chosen == set(expected)


@pytest.mark.parametrize("is_constrained", [True, False])
def test_sampled_calls_equal_the_literal_ones(embedded_model, windows, is_constrained):
    parameters = sampling_parameters(is_constrained=is_constrained)
    with literal.recorded_draws() as draws:
        rows = sample_calls(
            embedded_model,
            compute_prompt_prefix(embedded_model, PROMPT),
            windows,
            tool_name="Calculator",
            takes_arguments=True,
            parse_arguments=lambda text: text,
            parameters=parameters,
        )
    assert len(rows) >= 10
    for row in rows:
        context = literal.sampling_context(
            embedded_model,
            PROMPT,
            TEXTS[int(row.document_id.removeprefix("document-"))],
            row.position,
            forced=forced_text("Calculator", is_constrained=is_constrained),
        )
        tokens: list[int] = []
        for uniform in branch_uniforms(
            parameters.seed,
            row.document_id,
            row.window_index,
            "Calculator",
            row.position,
            row.sample_index,
            count=parameters.max_new_tokens,
        ).tolist():
            if uniform not in draws:
                break
            scores = literal.next_token_log_probabilities(embedded_model, context + tokens)
            assert literal.can_be_drawn(scores, uniform, draws[uniform])
            tokens.append(draws[uniform])
        texts = [embedded_model.tokenizer.decode([token]) for token in tokens]
        is_at_end = len(tokens) == parameters.max_new_tokens
        assert is_at_end or CallReader(is_constrained).is_finished(texts)
        assert row.sample_text == sample_text_of(
            embedded_model.tokenizer.decode(tokens), "Calculator", is_constrained=is_constrained
        )


def test_losses_and_decisions_equal_the_literal_ones(embedded_model, windows, tmp_path):
    calls = [
        ("document-0", 16, "48 * 3", "144"),
        ("document-0", 17, "48 * 3", "144"),
        ("document-0", 3, "48 * 3", "144"),
        ("document-0", 0, "1 + 1", "2"),
        ("document-1", 20, "2021 - 2000", "21"),
        ("document-1", len(windows[1].ids) - 1, "7 / 2", "3.50"),
        ("document-2", 1, "1 / 3", "0.33"),
    ]
    by_key = {(window.document_id, window.index): window for window in windows}
    scored = [
        ScoredCall(f"call-{n}", (document, 0), position, ToolCall("Calculator", arguments), result)
        for n, (document, position, arguments, result) in enumerate(calls)
    ]

    def losses(*, full: bool):
        scorer = scorer_for(
            embedded_model,
            by_key,
            ScoringParameters(CallFormat(), token_budget=128),
        )
        return scorer.score(
            scored,
            pruning=Pruning(0.5, {call.call_id for call in scored} if full else set()),
            checkpoint=Checkpoint(tmp_path / str(full), fingerprint="x"),
            progress=lambda done, total: None,
        )

    full, pruned = losses(full=True), losses(full=False)
    for call, (document, position, _, result) in zip(scored, calls, strict=True):
        text = TEXTS[int(document.removeprefix("document-"))]
        expected = literal.call_losses(embedded_model, text, position, call.call, result)
        got = full[call.call_id]
        assert got.loss_without_call == pytest.approx(expected.loss_without_call, abs=1e-4)
        assert got.loss_with_result == pytest.approx(expected.loss_with_result, abs=1e-4)
        assert got.loss_call_without_result == pytest.approx(
            expected.loss_call_without_result, abs=1e-4
        )
        for threshold in (0.5, 1.0):
            keeps = expected.loss_reduction >= threshold
            assert decide(got, filtering_threshold=threshold).is_kept == keeps
            assert decide(pruned[call.call_id], filtering_threshold=threshold).is_kept == keeps
    assert any(losses_.loss_call_without_result is None for losses_ in pruned.values())


STARTER_TEXTS = 5
OF_STARTER_TEXTS = sampling_parameters(
    positions_per_text=4, calls_per_position=4, max_new_tokens=16, seed=3
)


@pytest.fixture(scope="module")
def starter_windows(embedded_model) -> list[Window]:
    lines = (files("toolformer") / "starter_texts" / "starter_texts.jsonl").read_text().splitlines()
    return [
        next(
            split_into_windows(
                f"document-{number}",
                json.loads(line)["text"],
                embedded_model.tokenizer,
                window_tokens=48,
            )
        )
        for number, line in enumerate(lines[:STARTER_TEXTS])
    ]


def sample(model, windows, folder, *, windows_per_batch: int) -> list[SampledCall]:
    return sample_shard(
        model,
        PROMPT,
        windows,
        tool_name="Calculator",
        takes_arguments=True,
        parse_arguments=str.strip,
        parameters=OF_STARTER_TEXTS,
        window_tokens=48,
        checkpoint=Checkpoint(folder, fingerprint="x"),
        progress=lambda done, total: None,
        windows_per_batch=windows_per_batch,
    )


def first_other_token(row: SampledCall, draws, others) -> tuple[list[int], float, int] | None:
    """Where two samples of one branch part: tokens before, random number, the other's token."""
    before: list[int] = []
    for uniform in branch_uniforms(
        OF_STARTER_TEXTS.seed,
        row.document_id,
        row.window_index,
        "Calculator",
        row.position,
        row.sample_index,
        count=OF_STARTER_TEXTS.max_new_tokens,
    ).tolist():
        if uniform not in draws:
            break
        if draws[uniform] != others[uniform]:
            return before, uniform, others[uniform]
        before.append(draws[uniform])
    return None


def test_samples_are_equal_in_other_batches_but_for_rounding(
    embedded_model, starter_windows, tmp_path
):
    with literal.recorded_draws() as draws:
        together = sample(
            embedded_model, starter_windows, tmp_path / "a", windows_per_batch=STARTER_TEXTS
        )
    assert len(together) == STARTER_TEXTS * 4 * 4
    texts = {window.document_id: window.text for window in starter_windows}
    for count in (1, 2):
        with literal.recorded_draws() as others:
            rows = sample(
                embedded_model, starter_windows, tmp_path / str(count), windows_per_batch=count
            )
        # Measured are 99 of 100 and more on processors with AVX-512, 98 with AVX2.
        equal = sum(a.sample_text == b.sample_text for a, b in zip(together, rows, strict=True))
        assert equal >= 0.95 * len(together)
        for row in together:
            if (parting := first_other_token(row, draws, others)) is not None:
                before, uniform, token = parting
                context = literal.sampling_context(
                    embedded_model,
                    PROMPT,
                    texts[row.document_id],
                    row.position,
                    forced=forced_text("Calculator", is_constrained=True),
                )
                scores = literal.next_token_log_probabilities(embedded_model, context + before)
                assert literal.can_be_drawn(scores, uniform, token)
    again = sample(
        embedded_model, starter_windows, tmp_path / "again", windows_per_batch=STARTER_TEXTS
    )
    assert again == together
