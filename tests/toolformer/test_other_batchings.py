"""Samples and losses of the embedded model do not depend on how texts are batched."""

import json
from importlib.resources import files

import pytest

from toolformer.calls import CallFormat
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.windows import Window, split_into_windows
from toolformer.losses import ScoredCall, TextLosses, score_calls
from toolformer.samples import SamplingParameters
from toolformer.sampling import sample_shard
from tools.protocol import ToolCall

pytestmark = [pytest.mark.model, pytest.mark.slow]

TEXTS = 8
PARAMETERS = SamplingParameters(
    sampling_threshold=0.0,
    positions_per_text=5,
    calls_per_position=5,
    max_new_tokens=16,
    temperature=1.0,
    seed=3,
    is_constrained=True,
    round=1,
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


def sample(model, windows, folder, *, windows_per_batch: int, token_budget: int) -> list[str]:
    rows = sample_shard(
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
    return [f"{row.call_id} {row.sample_text}" for row in rows]


def test_the_embedded_model_packs_rows_in_both_precisions(embedded_model, embedded_model_path):
    assert embedded_model.stock_reason is None
    low = LanguageModel.load(embedded_model_path, precision="bfloat16", device="cpu")
    assert low.stock_reason is None


def test_at_least_99_of_100_samples_are_equal_in_other_batches(
    embedded_model, stock_model, windows, tmp_path
):
    together = sample(
        embedded_model, windows, tmp_path / "a", windows_per_batch=TEXTS, token_budget=1024
    )
    assert len(together) == TEXTS * 5 * 5
    alone = sample(embedded_model, windows, tmp_path / "b", windows_per_batch=1, token_budget=64)
    stock = sample(stock_model, windows, tmp_path / "c", windows_per_batch=3, token_budget=1024)
    for other in (alone, stock):
        equal = sum(one == another for one, another in zip(together, other, strict=True))
        assert equal >= 0.99 * len(together)
    again = sample(
        embedded_model, windows, tmp_path / "d", windows_per_batch=TEXTS, token_budget=1024
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
            call_format=CallFormat(),
            pruning_threshold=0.5,
            full_losses=True,
            checkpoint=Checkpoint(folder, fingerprint="x"),
            progress=lambda done, total: None,
            token_budget=budget,
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
