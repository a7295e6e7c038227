"""Samples and losses of the embedded model do not depend on how texts are batched."""

import json
from importlib.resources import files

import pytest

from tests import literal
from tests.fakes import sampling_parameters
from toolformer.call_scorer import Pruning, ScoringParameters
from toolformer.calls import CallFormat
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.windows import Window, split_into_windows
from toolformer.losses import ScoredCall, TextLosses, score_calls
from toolformer.samples import (
    SampledCall,
    branch_uniforms,
    forced_text,
)
from toolformer.sampling import sample_shard
from tools.protocol import ToolCall

pytestmark = [pytest.mark.model, pytest.mark.slow]

TEXTS = 8
PARAMETERS = sampling_parameters(
    positions_per_text=5, calls_per_position=5, max_new_tokens=16, seed=3
)
PROMPT = (
    "Add calls to a calculator.\n\n"
    "Input: Six crates of 24 make 6 * 24 = 144 bottles.\n"
    "Output: Six crates of 24 make 6 * 24 = [Calculator(6 * 24)] 144 bottles.\n\n"
    "Input: {text}\nOutput:"
)


@pytest.fixture(scope="module")
def windows(embedded_model) -> list[Window]:
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
        for number, line in enumerate(lines[:TEXTS])
    ]


@pytest.fixture(scope="module")
def stock_model(embedded_model_path) -> LanguageModel:
    return LanguageModel.load(
        embedded_model_path, precision="float32", device="cpu", attention="stock"
    )


def sample(
    model, windows, folder, *, windows_per_batch: int, token_budget: int
) -> list[SampledCall]:
    return sample_shard(
        model,
        PROMPT,
        windows,
        tool_name="Calculator",
        takes_arguments=True,
        parse_arguments=str.strip,
        parameters=PARAMETERS,
        window_tokens=48,
        checkpoint=Checkpoint(folder, fingerprint="x"),
        progress=lambda done, total: None,
        windows_per_batch=windows_per_batch,
        token_budget=token_budget,
    )


def first_other_token(row: SampledCall, draws, others) -> tuple[list[int], float, int] | None:
    """Where two samples of one branch part: tokens before, random number, the other's token."""
    before: list[int] = []
    for uniform in branch_uniforms(
        PARAMETERS.seed,
        row.document_id,
        row.window,
        "Calculator",
        row.position,
        row.sample_index,
        count=PARAMETERS.max_new_tokens,
    ).tolist():
        if uniform not in draws:
            break
        if draws[uniform] != others[uniform]:
            return before, uniform, others[uniform]
        before.append(draws[uniform])
    return None


def test_the_embedded_model_packs_rows_in_both_precisions(embedded_model, embedded_model_path):
    assert embedded_model.stock_reason is None
    low = LanguageModel.load(embedded_model_path, precision="bfloat16", device="cpu")
    assert low.stock_reason is None


def test_samples_are_equal_in_other_batches_but_for_rounding(
    embedded_model, stock_model, windows, tmp_path
):
    with literal.recorded_draws() as draws:
        together = sample(
            embedded_model, windows, tmp_path / "a", windows_per_batch=TEXTS, token_budget=1024
        )
    assert len(together) == TEXTS * 5 * 5
    texts = {window.document_id: window.text for window in windows}
    for name, model, windows_per_batch, token_budget in (
        ("alone", embedded_model, 1, 64),
        ("stock", stock_model, 3, 1024),
    ):
        with literal.recorded_draws() as others:
            rows = sample(
                model,
                windows,
                tmp_path / name,
                windows_per_batch=windows_per_batch,
                token_budget=token_budget,
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
        embedded_model, windows, tmp_path / "again", windows_per_batch=TEXTS, token_budget=1024
    )
    assert again == together


def test_losses_are_equal_on_both_attention_paths(embedded_model, stock_model, windows, tmp_path):
    calls = [
        ScoredCall(
            f"call-{number}",
            (window.document_id, 0),
            position,
            ToolCall("Calculator", f"{number} + 1"),
            str(number + 1),
        )
        for number, window in enumerate(windows)
        for position in (0, len(window.ids) // 2, len(window.ids) - 1)
    ]

    def score(model, folder, budget):
        return score_calls(
            model,
            {(window.document_id, window.index): window for window in windows},
            TextLosses(model, windows, token_budget=budget),
            calls,
            parameters=ScoringParameters(CallFormat(), token_budget=budget),
            pruning=Pruning(0.5, {call.call_id for call in calls}),
            checkpoint=Checkpoint(folder, fingerprint="x"),
            progress=lambda done, total: None,
        )

    packed = score(embedded_model, tmp_path / "a", 1024)
    stock = score(stock_model, tmp_path / "b", 200)
    for call_id, losses in packed.items():
        other = stock[call_id]
        assert losses.loss_without_call == pytest.approx(other.loss_without_call, abs=1e-4)
        assert losses.loss_with_result == pytest.approx(other.loss_with_result, abs=1e-4)
        assert losses.loss_call_without_result == pytest.approx(
            other.loss_call_without_result, abs=1e-4
        )
