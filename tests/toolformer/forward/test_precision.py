"""What `auto` stands for on a device, and models that overflow in float16."""

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.fakes import tiny_model
from toolformer.errors import OverflowingModelError
from toolformer.forward import precision
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.precision import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    automatic_precisions,
    is_faster_in_bfloat16,
    training_precision,
)


def saved(folder: Path) -> Path:
    model = tiny_model()
    model.model.save_pretrained(folder)
    model.tokenizer.backend.save_pretrained(folder)
    return folder


@pytest.fixture
def no_answer_is_kept() -> Iterator[None]:
    is_faster_in_bfloat16.cache_clear()
    yield
    is_faster_in_bfloat16.cache_clear()


@pytest.mark.usefixtures("no_answer_is_kept")
@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.2, [BFLOAT16, FLOAT32]), (0.8, [BFLOAT16, FLOAT32]), (0.9, [FLOAT32]), (5.0, [FLOAT32])],
)
def test_a_processor_takes_bfloat16_where_its_instructions_are_faster(
    monkeypatch, seconds: float, expected: list[str]
):
    # At some turns something else has the machine.
    delays = cycle([1.0, 1.0, 5.0])
    took = {FLOAT32: 1.0, BFLOAT16: seconds}
    monkeypatch.setattr(precision, "_product_seconds", lambda name: took[name] * next(delays))
    assert automatic_precisions("cpu") == expected
    assert training_precision("cpu") == expected[0]


@pytest.mark.usefixtures("no_answer_is_kept")
def test_what_a_product_takes_is_processor_time_in_its_own_precision(monkeypatch):
    multiply, seen = torch.nn.functional.linear, []

    def linear(states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        seen.append((states.dtype, weights.dtype))
        return multiply(states, weights)

    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    for name, dtype in ((FLOAT32, torch.float32), (BFLOAT16, torch.bfloat16)):
        assert 0 < precision._product_seconds(name) < 10
        assert seen.pop() == (dtype, dtype)


@pytest.mark.parametrize(
    ("capability", "expected", "of_training"),
    [
        ((6, 1), [FLOAT32], FLOAT32),
        ((7, 5), [FLOAT16, FLOAT32], FLOAT32),
        ((9, 0), [FLOAT16, BFLOAT16, FLOAT32], BFLOAT16),
    ],
)
def test_a_graphics_card_takes_what_its_generation_is_fast_in(
    monkeypatch, capability: tuple[int, int], expected: list[str], of_training: str
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert automatic_precisions("cuda:1") == expected
    assert training_precision("cuda:1") == of_training


# float16


OVERFLOWS = [
    # The weight itself, what a layer adds to the states, the logits of every token.
    ("model.embed_tokens.weight", slice(None), 1e6),
    ("model.layers.1.mlp.down_proj.weight", slice(None), 2e5),
    ("lm_head.weight", slice(None), 1e5),
    # One token of the vocabulary, wherever it stands.
    *(("model.embed_tokens.weight", token, 1e7) for token in (3, 150, 260)),
]


@pytest.mark.parametrize(("at", "rows", "factor"), OVERFLOWS)
def test_a_model_that_overflows_in_float16_is_refused_in_it(
    tmp_path, at: str, rows: slice | int, factor: float
):
    folder = saved(tmp_path / "large")
    weights = load_file(folder / "model.safetensors")
    weights[at][rows] *= factor
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(OverflowingModelError, match=r"overflow in float16.*auto or float32"):
        LanguageModel.load(folder, precision=FLOAT16, device="cpu")
    assert LanguageModel.load(folder, precision=BFLOAT16, device="cpu")
