"""Which precision is taken by which figures, and what a device computes in."""

import gc
import weakref
from collections.abc import Iterator
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.fakes import tiny_model
from toolformer.errors import ModelNotFoundError, OverflowingModelError
from toolformer.forward import faster_model as trials
from toolformer.forward import precision
from toolformer.forward.faster_model import faster_model
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.model_directory import kind_of_model
from toolformer.forward.precision import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    PrecisionChoice,
    has_bfloat16_instructions,
    in_order_of_trial,
    measured_choice,
)


class Passes:
    """Passes at given speeds, in order, which remember how they were asked for."""

    def __init__(self, float32: Iterator[float], bfloat16: Iterator[float], half: str = BFLOAT16):
        self._speeds = {half: bfloat16, FLOAT32: float32}
        self.asked: list[tuple[str, int]] = []

    def choice(self) -> PrecisionChoice:
        return measured_choice({name: partial(self._one, name) for name in self._speeds})

    def _one(self, name: str, tokens: int) -> float:
        self.asked.append((name, tokens))
        if (speed := next(self._speeds[name])) == 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return speed


@pytest.mark.parametrize(
    ("float32", "bfloat16", "expected"),
    [
        # It is taken where it is a fifth faster.
        (repeat(1000.0), repeat(1199.0), PrecisionChoice(FLOAT32, 1000.0, 1199.0)),
        (repeat(1000.0), repeat(1200.0), PrecisionChoice(BFLOAT16, 1000.0, 1200.0)),
        (repeat(1000.0), repeat(400.0), PrecisionChoice(FLOAT32, 1000.0, 400.0)),
        # What memory does not hold leaves the other.
        (repeat(0.0), repeat(10.0), PrecisionChoice(BFLOAT16, None, 10.0)),
        (repeat(10.0), repeat(0.0), PrecisionChoice(FLOAT32, 10.0, None)),
        (repeat(0.0), repeat(0.0), PrecisionChoice(FLOAT32, None, None)),
        # It did not fit when the passes grew.
        (repeat(1e5), chain([1e5] * 2, repeat(0.0)), PrecisionChoice(FLOAT32, 1e5, None)),
    ],
)
def test_bfloat16_is_taken_where_it_is_worth_it(float32, bfloat16, expected):
    choice = Passes(float32, bfloat16).choice()
    assert choice == expected
    assert choice.summary.startswith(expected.precision)


@pytest.mark.parametrize(
    ("float32", "float16", "expected"),
    [
        (1000.0, 1199.0, FLOAT32),
        (1000.0, 1200.0, FLOAT16),
        (0.0, 10.0, FLOAT16),
        (10.0, 0.0, FLOAT32),
        # Cards before Volta have float16 and compute slowly in it.
        (1000.0, 16.0, FLOAT32),
    ],
)
def test_float16_is_taken_by_the_same_rule(float32: float, float16: float, expected: str):
    choice = Passes(repeat(float32), repeat(float16), FLOAT16).choice()
    assert choice == PrecisionChoice(expected, float32 or None, None, float16 or None)
    assert BFLOAT16 not in choice.summary


def test_a_fast_device_gets_more_tokens():
    passes = Passes(repeat(5000.0), repeat(10_000.0))
    assert passes.choice().precision == BFLOAT16
    assert [tokens for _, tokens in passes.asked] == [32] * 2 + [128] * 2 + [640] * 6
    passes = Passes(repeat(1e6), repeat(1e7))
    passes.choice()
    assert passes.asked[-1] == (FLOAT32, 8192)
    slow = Passes(repeat(100.0), repeat(200.0))
    slow.choice()
    assert [tokens for _, tokens in slow.asked] == [32] * 2 + [128] * 6


# With a model


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("models") / "tiny")


def saved(folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    model = tiny_model(seed=seed)
    model.model.to(dtype=dtype).save_pretrained(folder)
    model.tokenizer.backend.save_pretrained(folder)
    return folder


class Loads:
    """Loads a model directory, and knows which copies are still there."""

    def __init__(self, directory: Path):
        self._directory = directory
        self.copies: dict[str, weakref.ref[LanguageModel]] = {}

    def __call__(self, name: str) -> LanguageModel:
        model = LanguageModel.load(self._directory, precision=name, device="cpu")
        self.copies[name] = weakref.ref(model)
        return model


def test_the_faster_copy_is_kept_and_the_other_dropped(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    processor(tmp_path, monkeypatch, "amx_bf16")
    load = Loads(directory)
    model, choice = faster_model(load, directory, device="cpu")
    assert model.precision == choice.precision
    assert model.tokens_fed == 0
    assert choice.float32
    assert choice.bfloat16
    gc.collect()
    assert {name for name, copy in load.copies.items() if copy()} == {model.precision}


@pytest.mark.parametrize(("flags", "kept"), [("amx_bf16", BFLOAT16), ("avx2", FLOAT32)])
def test_where_memory_holds_one_copy_it_is_the_one_the_processor_is_made_for(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, kept: str
):
    processor(tmp_path, monkeypatch, flags)
    # Enough for the weights, and not for a batch besides.
    memory = SimpleNamespace(total=2**30, available=2**29)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    load = Loads(directory)
    model, choice = faster_model(load, directory, device="cpu")
    assert model.precision == choice.precision == kept
    assert set(load.copies) == {kept}


def test_a_model_and_what_was_finetuned_from_it_are_of_one_kind(directory: Path, tmp_path: Path):
    finetuned = saved(tmp_path / "finetuned", seed=7, dtype=torch.bfloat16)
    assert kind_of_model(finetuned) == kind_of_model(directory)
    assert kind_of_model(directory).startswith("LlamaForCausalLM-")
    weights = sum(each.numel() for each in tiny_model().model.parameters())
    assert kind_of_model(directory).endswith(f"-{weights}")


# Devices


def processor(folder: Path, monkeypatch: pytest.MonkeyPatch, flags: str) -> None:
    file = folder / "cpuinfo"
    file.write_text(f"model name\t: Maker One\nflags : {flags}\n")
    monkeypatch.setattr(precision, "_PROCESSOR", file)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2 avx512_bf16 sse", True),
        ("fpu amx_bf16 amx_tile", True),
        ("fp asimd bf16", True),
        ("fpu avx2 avx512f", False),
    ],
)
def test_the_flags_tell_whether_the_processor_only_emulates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, *, expected: bool
):
    processor(tmp_path, monkeypatch, flags)
    assert has_bfloat16_instructions() == expected
    assert in_order_of_trial("cpu") == ([BFLOAT16, FLOAT32] if expected else [FLOAT32])
    assert precision.name_of_device("cpu") == "Maker One"


def test_a_processor_takes_float16_only_where_it_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(precision, "computable", lambda _: precision.PRECISIONS)
    assert FLOAT16 not in in_order_of_trial("cpu")
    assert in_order_of_trial("cuda:1") == [FLOAT16, BFLOAT16, FLOAT32]


def test_a_precision_that_the_device_lacks_is_refused_with_what_it_has(
    directory: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(precision, "computable", lambda _: (FLOAT32,))
    with pytest.raises(
        ModelNotFoundError, match="'cpu' does not compute in bfloat16; expected float32"
    ):
        LanguageModel.load(directory, precision=BFLOAT16, device="cpu")
    model, choice = faster_model(Loads(directory), directory, device="cpu")
    assert model.precision == choice.precision == FLOAT32
    assert choice.bfloat16 is None


# float16


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """This processor is tried and timed as a graphics card is."""
    monkeypatch.setattr(trials, "in_order_of_trial", lambda _: [FLOAT16, BFLOAT16, FLOAT32])
    # A pass is as fast as its weights are small.
    speeds = {torch.float16: 1e-9, torch.bfloat16: 1e-9, torch.float32: 1e-3}

    def timed(work: Any, device: str) -> float:
        return speeds[work()[0].dtype]

    monkeypatch.setattr(trials, "timed", timed)


@pytest.mark.usefixtures("on_gpu")
def test_a_graphics_card_takes_float16_without_trying_bfloat16(directory: Path):
    load = Loads(directory)
    model, choice = faster_model(load, directory, device="cpu")
    assert model.precision == choice.precision == FLOAT16
    assert choice.bfloat16 is None
    assert set(load.copies) == {FLOAT16, FLOAT32}


def overflowing(folder: Path, *, at: str, factor: float) -> Path:
    """A model that float16 does not hold: a weight is this many times as large."""
    saved(folder)
    weights = load_file(folder / "model.safetensors")
    weights[at] *= factor
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


OVERFLOWS = [
    # The weight itself, what a layer adds to the states, the logits of every token.
    ("model.embed_tokens.weight", 1e6),
    ("model.layers.1.mlp.down_proj.weight", 2e5),
    ("lm_head.weight", 1e5),
]


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize(("at", "factor"), OVERFLOWS)
def test_a_model_that_overflows_in_float16_is_computed_in_bfloat16(
    tmp_path: Path, at: str, factor: float
):
    folder = overflowing(tmp_path / "large", at=at, factor=factor)
    load = Loads(folder)
    model, choice = faster_model(load, folder, device="cpu")
    assert model.precision == choice.precision == BFLOAT16
    assert choice.float16 is None


def test_one_token_of_the_vocabulary_that_overflows_is_found_wherever_it_stands(tmp_path: Path):
    for token in (3, 150, 260):
        folder = saved(tmp_path / str(token))
        weights = load_file(folder / "model.safetensors")
        weights["model.embed_tokens.weight"][token] = 1e6
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(OverflowingModelError, match=r"overflow in float16.*auto or float32"):
            LanguageModel.load(folder, precision=FLOAT16, device="cpu")
        assert LanguageModel.load(folder, precision=BFLOAT16, device="cpu")


def test_a_processor_without_float16_refuses_it_with_what_it_has(
    directory: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(precision, "computable", lambda _: (FLOAT32, BFLOAT16))
    with pytest.raises(ModelNotFoundError, match="float16; expected float32 or bfloat16"):
        LanguageModel.load(directory, precision=FLOAT16, device="cpu")
