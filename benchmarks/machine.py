"""Describes the machine of a measurement: hardware, versions, GEMM peak and peak memory."""

import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from toolformer.forward.devices import resolve_device
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.precision import automatic_precisions

_GEMM_SIZE = 2048
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def machine() -> dict[str, Any]:
    names = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return {
        "processor": names[0].partition(":")[2].strip() if names else platform.machine(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(int(memory[0].split()[1]) / 2**20, 1) if memory else None,
    }


def load_faster(path: Path) -> LanguageModel:
    """Load a model in the precision that `precision: auto` chooses on this machine."""
    device = resolve_device("auto")
    return LanguageModel.load(path, precision=automatic_precisions(device)[0], device=device)


def versions() -> dict[str, str]:
    """Return the commit (with `-dirty` if files differ) and versions of Python and packages."""
    described = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(described, cwd=Path(__file__).parent, capture_output=True, text=True)
    packages = ("torch", "transformers", "tokenizers", "numpy")
    return {
        "commit": commit.stdout.strip() or "unknown",
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def gemm_peak(precision: str, *, repeats: int) -> float:
    """Return floating-point operations per second of a square matrix product, as a median."""
    left, right = (
        torch.randn(_GEMM_SIZE, _GEMM_SIZE).to(getattr(torch, precision)) for _ in range(2)
    )
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        torch.mm(left, right)
        seconds.append(time.perf_counter() - began)
    return 2 * _GEMM_SIZE**3 / statistics.median(seconds[1:])


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """Measure the peak resident memory of the block in GiB; the list is filled at its end.

    On Linux the kernel's high-water mark is reset first. Elsewhere the peak is that of the whole
    process so far.
    """
    is_reset = _reset_high_water_mark()
    measured: list[float] = []
    try:
        yield measured
    finally:
        measured.append(_high_water_mark() if is_reset else process_peak())


def process_peak() -> float:
    """Return the peak resident memory of this process so far, in GiB."""
    # Kilobytes on Linux, bytes on macOS.
    unit = 2**30 if platform.system() == "Darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _reset_high_water_mark() -> bool:
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


def _high_water_mark() -> float:
    (line,) = [line for line in _lines(_STATUS) if line.startswith("VmHWM")]
    return int(line.split()[1]) / 2**20


def _lines(file: Path | str) -> list[str]:
    try:
        return Path(file).read_text().splitlines()
    except OSError:
        return []
