"""Samples of the embedded model do not depend on how texts are batched."""

import json
from importlib.resources import files

import pytest

from tests import literal
from tests.fakes import sampling_parameters
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.windows import Window, split_into_windows
from toolformer.samples import (
    SampledCall,
    branch_uniforms,
    forced_text,
)
from toolformer.sampling import sample_shard

pytestmark = [pytest.mark.model, pytest.mark.slow]

TEXTS = 5
PARAMETERS = sampling_parameters(
    positions_per_text=4, calls_per_position=4, max_new_tokens=16, seed=3
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


def sample(model, windows, folder, *, windows_per_batch: int) -> list[SampledCall]:
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


def test_samples_are_equal_in_other_batches_but_for_rounding(embedded_model, windows, tmp_path):
    with literal.recorded_draws() as draws:
        together = sample(embedded_model, windows, tmp_path / "a", windows_per_batch=TEXTS)
    assert len(together) == TEXTS * 4 * 4
    texts = {window.document_id: window.text for window in windows}
    for count in (1, 2):
        with literal.recorded_draws() as others:
            rows = sample(embedded_model, windows, tmp_path / str(count), windows_per_batch=count)
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
    again = sample(embedded_model, windows, tmp_path / "again", windows_per_batch=TEXTS)
    assert again == together
