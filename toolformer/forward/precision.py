"""Which precision a model computes faster in on a device, by passes of the model itself.

The processor's flags do not tell all: one with AVX512-BF16 multiplies small matrices slower in
bfloat16 than in float32, and one with AMX several times as fast.
"""

import functools
import logging
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from toolformer.errors import ModelNotFoundError, OverflowingModelError
from toolformer.files.loading import is_out_of_memory
from toolformer.forward.memory import available_memory, memory_needed, release_memory

Copy = TypeVar("Copy")
_LOGGER = logging.getLogger(__name__)

FLOAT32, BFLOAT16, FLOAT16 = "float32", "bfloat16", "float16"
PRECISIONS = (FLOAT32, BFLOAT16, FLOAT16)
# 16 bits round, so they are taken where they are at least as many times as fast as float32.
MIN_GAIN = 1.2
# Fewer tokens are bound by reading the weights, which are half as large in 16 bits, and not by
# computing, as the batches of real work are. A GPU needs far more.
FEWEST_TOKENS, _MAX_TIMES_AS_MANY = 128, 64
_SECONDS_OF_PASS = 0.15
_TURNS = 3
_PROCESSOR = Path("/proc/cpuinfo")
# Flags of processors that compute in bfloat16 themselves.
_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


@dataclass(frozen=True, slots=True)
class PrecisionChoice:
    """A precision, and what it was chosen by.

    Attributes:
        precision: one of `PRECISIONS`.
        float32, bfloat16, float16: tokens a second in each; None where memory or device did not
            allow it, or the model was not tried in it.
    """

    precision: str
    float32: float | None
    bfloat16: float | None
    float16: float | None = None

    @classmethod
    def of(cls, speeds: Mapping[str, float]) -> "PrecisionChoice":
        """The choice by tokens a second; 0 or none where memory or device did not allow it."""
        figures = {name: speeds.get(name) or None for name in PRECISIONS}
        fastest = max((FLOAT16, BFLOAT16), key=lambda name: figures[name] or 0.0)
        is_worth_it = (figures[fastest] or 0.0) >= MIN_GAIN * (figures[FLOAT32] or 0.0)
        is_taken = figures[fastest] is not None and is_worth_it
        return cls(fastest if is_taken else FLOAT32, **figures)

    @property
    def summary(self) -> str:
        """The figures in a line.

        Example:
            >>> PrecisionChoice("float32", 612.4, 340.0).summary
            'float32: 612 tokens/s, bfloat16 340'
        """
        names = sorted(PRECISIONS, key=lambda name: name != self.precision)
        figures = [(name, getattr(self, name)) for name in names]
        others = [f"{name} {speed:,.0f}" for name, speed in figures[1:] if speed is not None]
        own = figures[0][1]
        text = "not measured" if own is None else f"{own:,.0f} tokens/s"
        return ", ".join([f"{self.precision}: {text}", *others])


def measured_choice(
    passes: Mapping[str, Callable[[int], float]], *, fewest_tokens: int = FEWEST_TOKENS
) -> PrecisionChoice:
    """Measure two precisions in turns, so that a busy moment hits both; the best pass counts.

    Args:
        passes: by precision, one or two: does a pass over about so many tokens, and returns its
            tokens a second. May raise where memory does not hold it.
        fewest_tokens: minimum tokens of a pass; a fast device gets a multiple of it.
    """
    speeds: dict[str, float] = {}
    able = dict(passes)
    # At the first pass, a short one, weights are read and memory is taken.
    for tokens in (fewest_tokens // 4, fewest_tokens):
        speeds = {name: measured_speed(one, tokens) for name, one in able.items()}
        able = {name: able[name] for name, speed in speeds.items() if speed}
    if len(able) < 2:
        return PrecisionChoice.of(speeds)
    times_as_many = int(_SECONDS_OF_PASS * min(speeds.values()) / fewest_tokens)
    tokens = fewest_tokens * min(max(times_as_many, 1), _MAX_TIMES_AS_MANY)
    # A slow device has had its first turn.
    turns = [] if tokens > fewest_tokens else [speeds]
    while len(turns) < _TURNS:
        turns.append({name: measured_speed(one, tokens) for name, one in able.items()})
    return PrecisionChoice.of({name: max(speeds[name] for speeds in turns) for name in able})


def measured_speed(one: Callable[[int], float], tokens: int) -> float:
    """Tokens a second; 0 where memory does not hold it, or the precision its activations."""
    try:
        return one(tokens)
    except OverflowingModelError as error:
        _LOGGER.info("%s", error)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    release_memory()
    return 0.0


def copies(load: Callable[[str], Copy], path: Path, *, device: str) -> Callable[[str], Copy]:
    """Copies of a model by precision, each loaded when it is first asked for.

    Args:
        device: a resolved device.

    Raises:
        MemoryError: by what is returned, where the memory of the machine does not hold a second
            copy. The kernel would end the process instead.
    """
    loaded: dict[str, Copy] = {}

    def copy_of(precision: str) -> Copy:
        if precision not in loaded:
            if loaded and device == "cpu":
                needed = memory_needed(path, precision=precision, has_second_look=False)
                if needed.annotating > (available_memory(device) or 0):
                    raise MemoryError
            loaded[precision] = load(precision)
        return loaded[precision]

    return copy_of


def timed(work: Callable[[], object], device: str) -> float:
    """Seconds of a piece of work, to the end of what a GPU was given."""
    import torch

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    wait()
    began = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - began


def in_order_of_trial(device: str) -> list[str]:
    """The precisions that `auto` may choose, first the one to keep if memory holds one copy.

    Of a processor float16 is none: few compute in it faster than in float32. Where it emulates
    bfloat16, a step of training takes 19 times as long, and so would measuring it.
    """
    order = (FLOAT32,)
    if device.startswith("cuda"):
        order = (FLOAT16, BFLOAT16, FLOAT32)
    elif has_bfloat16_instructions():
        order = (BFLOAT16, FLOAT32)
    return [name for name in order if name in computable(device)]


def has_bfloat16_instructions() -> bool:
    """Whether the processor says that it computes in bfloat16 itself; else it is emulated."""
    return not _BFLOAT16_FLAGS.isdisjoint(_about_processor().split())


def name_of_device(device: str) -> str:
    """What maker and model of a processor or GPU are called."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    lines = (line.partition(":") for line in _about_processor().splitlines())
    names = (value.strip() for field, _, value in lines if field.strip() == "model name")
    return next(names, platform.processor() or platform.machine())


def _about_processor() -> str:
    try:
        return _PROCESSOR.read_text(errors="replace")
    except OSError:
        return ""


@functools.cache
def computable(device: str) -> tuple[str, ...]:
    """The precisions in which a small matrix product can be computed on a device."""
    return tuple(name for name in PRECISIONS if _multiplies(device, name))


def check_computable(device: str, precision: str) -> None:
    """Refuse a precision that is unknown, or that the device does not compute in.

    Args:
        device: a resolved device.

    Raises:
        ModelNotFoundError: says what the device computes in.
    """
    if precision not in PRECISIONS:
        raise ModelNotFoundError(
            f"Unknown precision {precision!r}; expected one of {', '.join(PRECISIONS)}."
        )
    able = computable(device)
    # Whatever is wrong with a device that computes in neither, loading the model says.
    if able and precision not in able:
        raise ModelNotFoundError(
            f"The device {device!r} does not compute in {precision}; expected {' or '.join(able)}. "
            "Set language_model.precision and training.precision to auto or to that, or take "
            "another device (language_model.device)."
        )


def _multiplies(device: str, precision: str) -> bool:
    import torch

    try:
        matrix = torch.ones((8, 8), dtype=getattr(torch, precision), device=device)
        return bool((matrix @ matrix).isfinite().all().item())
    # What a backend raises where a kernel is missing; torch without CUDA raises AssertionError.
    except (AssertionError, NotImplementedError, RuntimeError, TypeError):
        return False
