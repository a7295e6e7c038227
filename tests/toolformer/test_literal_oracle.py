"""The engine against the literal formulas, on the embedded model in float32."""

import json
import math
import statistics
from collections.abc import Iterator
from importlib.resources import files
from itertools import takewhile

import pytest

from tests import literal
from tests.fakes import SAMPLING, TOOL
from tests.toolformer.architectures import windows_of
from tests.toolformer.scoring.test_losses import score
from toolformer import reference
from toolformer.augmentation import KeptCall, augmented_segments, one_call_per_position
from toolformer.filtering import decide
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.windows import Window
from toolformer.samples import CallReader, SampledCall, branch_uniforms, forced_text, sample_text_of
from toolformer.sampling import sample_calls, sample_shard
from toolformer.scoring.call_scorer import ScoredCall
from toolformer.settings.annotation_sections import SamplingSettings
from toolformer.settings.tool_sections import ToolSettings
from tools.calculator import Calculator
from tools.errors import CallSyntaxError, ToolCallError
from tools.protocol import Document, ToolCall

pytestmark = [pytest.mark.model, pytest.mark.slow]

TEXTS = (
    "The bakery sold 48 loaves at 3 crowns each, so it took 144 crowns before noon.",
    "Mount Etna – auf Sizilien „der Berg“ 🌋 – last erupted in 2021, and it is a [sic] volcano.",
    "Rain.",
)

# Shorter than the shipped prompt: the literal engine feeds it again for every single token.
PROMPT = (
    "Add calls to a calculator.\n\n"
    "Input: Six crates of 24 make 6 * 24 = 144 bottles.\n"
    "Output: Six crates of 24 make 6 * 24 = [Calculator(6 * 24)] 144 bottles.\n\n"
    "Input: {text}\nOutput:"
)


@pytest.fixture(scope="module")
def windows(embedded_model) -> list[Window]:
    return windows_of(embedded_model.tokenizer, *TEXTS)


def sample(model, windows, tool=TOOL, sampling=SAMPLING, branches=None) -> list[SampledCall]:
    return sample_calls(
        model,
        PROMPT,
        windows,
        tool_name="Calculator",
        takes_arguments=True,
        parse_arguments=str.strip,
        tool=tool,
        sampling=sampling,
        branches=branches,
    )


def drawn_by(row: SampledCall, sampling, draws) -> Iterator[tuple[float, int]]:
    """The random numbers of a sample, each with the token that was drawn by it."""
    uniforms = branch_uniforms(
        sampling.seed,
        row.document_id,
        row.window_index,
        "Calculator",
        row.position,
        row.sample_index,
        count=sampling.max_new_tokens,
    ).tolist()
    return ((uniform, draws[uniform]) for uniform in takewhile(draws.__contains__, uniforms))


def context_of(model, row: SampledCall, text: str, *, is_constrained: bool = True) -> list[int]:
    forced = forced_text("Calculator", is_constrained=is_constrained)
    return reference.sampling_context(model, PROMPT, text, row.position, pieces=forced)


@pytest.mark.parametrize("is_constrained", [True, False])
def test_probabilities_and_sampled_calls_equal_the_literal_ones(
    embedded_model, windows, is_constrained
):
    sampling = SAMPLING.model_copy(update={"is_constrained": is_constrained})
    with literal.recorded_draws() as draws:
        rows = sample(embedded_model, windows, sampling=sampling)
    assert len(rows) >= 10
    for row in rows:
        text = TEXTS[int(row.document_id.removeprefix("document-"))]
        if is_constrained and row.sample_index == 0:
            expected = reference.call_probability(embedded_model, PROMPT, text, row.position)
            assert row.call_probability == pytest.approx(expected, abs=1e-5)
        context = context_of(embedded_model, row, text, is_constrained=is_constrained)
        drawn = list(drawn_by(row, sampling, draws))
        tokens = [token for _, token in drawn]
        expected = reference.log_probabilities(embedded_model, context, tokens)
        for (uniform, token), scores in zip(drawn, expected, strict=False):
            assert literal.can_be_drawn(scores, uniform, token)
        texts = [embedded_model.tokenizer.decode([token]) for token in tokens]
        is_at_end = len(tokens) == sampling.max_new_tokens
        is_at_end = is_at_end or reference.ends_text(embedded_model, tokens[-1])
        assert is_at_end or CallReader(is_constrained).is_finished(texts)
        sampled = reference.text_of(embedded_model, tokens)
        assert row.sample_text == sample_text_of(
            sampled, "Calculator", is_constrained=is_constrained
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
    scored = [
        ScoredCall(f"call-{n}", (document, 0), position, ToolCall("Calculator", arguments), result)
        for n, (document, position, arguments, result) in enumerate(calls)
    ]
    full, pruned = (
        score(embedded_model, windows, tmp_path / str(at), scored, full_losses=at, token_budget=128)
        for at in (True, False)
    )
    for call, (document, position, _, result) in zip(scored, calls, strict=True):
        text = TEXTS[int(document.removeprefix("document-"))]
        expected = reference.call_losses(
            embedded_model, text, reference.Call(position, call.call, result)
        )
        for name in ("loss_without_call", "loss_call_without_result", "loss_with_result"):
            loss = getattr(expected, name)
            assert getattr(full[call.call_id], name) == pytest.approx(loss, abs=1e-4)
        for threshold in (0.5, 1.0):
            keeps = expected.loss_reduction >= threshold
            assert decide(full[call.call_id], filtering_threshold=threshold).is_kept == keeps
            assert decide(pruned[call.call_id], filtering_threshold=threshold).is_kept == keeps
    assert any(losses_.loss_call_without_result is None for losses_ in pruned.values())


def test_the_reference_keeps_the_calls_that_the_engine_keeps(embedded_model, tmp_path, monkeypatch):
    """With the engine's samples, since a tie may draw another token."""
    text = "Six crates of 24 bottles make 144, and 12 more make 156."
    tool = ToolSettings(sampling_threshold=0, positions_per_text=3, calls_per_position=4)
    windows, branches, calculator = windows_of(embedded_model.tokenizer, text), [], Calculator()
    rows = sample(embedded_model, windows, tool, branches=branches)

    def run_tool(call: ToolCall) -> str | None:
        try:
            return calculator.call(calculator.parse_arguments(call.arguments), Document("d", text))
        except (CallSyntaxError, ToolCallError):
            return None

    calls = [
        ScoredCall(row.call_id, windows[0].key, row.position, call, result)
        for row in rows
        if row.status == "parsed"
        for call in [ToolCall("Calculator", row.arguments or "")]
        if (result := run_tool(call)) is not None
    ]
    losses = score(embedded_model, windows, tmp_path, calls)
    reductions = {
        (call.position, call.call.arguments): decide(
            losses[call.call_id], filtering_threshold=-math.inf
        ).loss_reduction
        for call in calls
    }
    tau_f = statistics.median(reductions.values()) + 1e-3
    samples = iter([branch.tokens for branch in branches])
    monkeypatch.setattr(reference, "sample_tokens", lambda *_, **__: next(samples))
    kept = reference.annotate(
        embedded_model,
        PROMPT,
        text,
        "Calculator",
        run_tool,
        lambda *_: pytest.fail("a token was drawn"),
        tau_s=tool.sampling_threshold,
        tau_f=tau_f,
        k=tool.positions_per_text,
        m=tool.calls_per_position,
        max_tokens=SAMPLING.max_new_tokens,
    )
    found = {(call.position, call.call.arguments): call.loss_reduction for call in kept}
    assert 0 < len(found) < len(reductions)
    expected = {key: value for key, value in reductions.items() if value >= tau_f}
    assert found == pytest.approx(expected, abs=1e-4)
    segments = augmented_segments(
        embedded_model.tokenizer,
        windows[0].ids,
        one_call_per_position(
            KeptCall("c", each.position, 0, "Calculator", each.call.arguments, each.result, value)
            for each in kept
            for value in [each.loss_reduction]
        ),
    )
    ids = [token for segment in segments for token in segment.ids]
    assert reference.augmented_ids(embedded_model, text, kept) == ids


STARTER_TEXTS = 3
FOUR = ToolSettings(sampling_threshold=0, positions_per_text=4, calls_per_position=4)
OF_STARTER_TEXTS = SamplingSettings(max_new_tokens=6, seed=3)


@pytest.fixture(scope="module")
def starter_windows(embedded_model) -> list[Window]:
    lines = (files("toolformer") / "starter_texts" / "starter_texts.jsonl").read_text().splitlines()
    texts = [json.loads(line)["text"] for line in lines[:STARTER_TEXTS]]
    windows = windows_of(embedded_model.tokenizer, *texts, window_tokens=48)
    return [window for window in windows if window.index == 0]


def test_samples_are_equal_in_other_batches_and_on_the_plain_path_but_for_rounding(
    embedded_model, starter_windows, tmp_path, monkeypatch
):
    def sampled(folder: str, windows_per_batch: int):
        with literal.recorded_draws() as draws:
            rows = sample_shard(
                embedded_model,
                PROMPT,
                starter_windows,
                tool_name="Calculator",
                takes_arguments=True,
                parse_arguments=str.strip,
                tool=FOUR,
                sampling=OF_STARTER_TEXTS.model_copy(
                    update={"windows_per_batch": windows_per_batch}
                ),
                window_tokens=48,
                checkpoint=Checkpoint(tmp_path / folder, fingerprint="x"),
                progress=lambda done, total: None,
            )
        return rows, draws

    together, draws = sampled("together", STARTER_TEXTS)
    assert len(together) == STARTER_TEXTS * 4 * 4
    texts = {window.document_id: window.text for window in starter_windows}
    assert sampled("again", STARTER_TEXTS)[0] == together
    for is_plain in (False, True):
        monkeypatch.setattr(embedded_model, "is_plain", is_plain)
        monkeypatch.setattr(embedded_model, "prefixes", {})
        rows, others = sampled(f"plain-{is_plain}", 2)
        # Measured are 99 of 100 and more on processors with AVX-512, 98 with AVX2.
        equal = sum(a.sample_text == b.sample_text for a, b in zip(together, rows, strict=True))
        assert equal >= 0.95 * len(together)
        for row in together:
            # Where the two part, if they do.
            before: list[int] = []
            for uniform, token in drawn_by(row, OF_STARTER_TEXTS, draws):
                if others[uniform] != token:
                    context = context_of(embedded_model, row, texts[row.document_id])
                    scores = reference.next_token_log_probabilities(
                        embedded_model, context + before
                    )
                    assert literal.can_be_drawn(scores, uniform, others[uniform])
                    break
                before.append(token)
