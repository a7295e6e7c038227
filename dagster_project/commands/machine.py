"""Looks at the machine: folder of the home, disk, memory, processor and graphics card.

Does not import torch, which takes seconds, and knows nothing of what is in the home.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dagster_project.commands.findings import Finding
from toolformer.forward.precision import has_bfloat16_instructions

_GIB = 2**30
# What lies in the two folders, where they are two.
_CLASSES = {
    "home": "; it has what all machines share",
    "cache": "; it has what belongs to this machine",
}
_LEAST_FREE_DISK = 5 * _GIB
_LEAST_MEMORY = 4 * _GIB  # the peak of the embedded model in the demo
_GPU_SECONDS = 1.5
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_MEMORY = Path("/proc/meminfo")


def examine_machine(root: Path, cache: Path | None = None) -> Iterator[Finding]:
    """Look at the machine.

    Args:
        root: folder of the home; it need not exist.
        cache: folder of what belongs to this machine, where it is another one.

    Yields:
        One finding for each thing.
    """
    for name, folder in {"home": root, "cache": cache}.items():
        if folder is not None:
            yield _folder(name, folder, "" if cache is None else _CLASSES[name])
            yield _disk(name, folder)
    yield _memory()
    yield _processor()
    yield _graphics_card()


def _folder(name: str, root: Path, what: str) -> Finding:
    variable = f"TOOLFORMER_{name.upper()}"
    if root.exists() and not root.is_dir():
        return Finding(name, "missing", f"{root} is no folder", f"Set {variable} to a folder")
    if root.is_dir():
        try:
            with tempfile.TemporaryFile(dir=root):
                pass
        except OSError as error:
            remedy = f"Free some space, change its permissions, or set {variable} elsewhere"
            return Finding(name, "missing", f"{root} cannot be written: {error.strerror}", remedy)
        return Finding(name, "ok", f"{root} can be written{what}")
    parent = _existing(root)
    if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
        return Finding(name, "ok", f"{root} is made at first use{what}")
    remedy = f"Set {variable} to a folder that can be made"
    return Finding(name, "missing", f"{root} cannot be made in {parent}", remedy)


def _disk(of: str, root: Path) -> Finding:
    name = "disk" if of == "home" else f"disk of the {of}"
    free = shutil.disk_usage(_existing(root)).free
    detail = f"{free / _GIB:.1f} GiB free"
    if free < _LEAST_FREE_DISK:
        needed = f"{_LEAST_FREE_DISK / _GIB:.0f} GiB"
        remedy = f"Free {needed}, or set TOOLFORMER_{of.upper()} to another disk"
        return Finding(name, "warning", detail, remedy)
    return Finding(name, "ok", detail)


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _text(_CGROUP_LIMIT).strip()
    if limit.isdigit():
        total = min(total, int(limit))
    detail = f"{total / _GIB:.1f} GiB"
    for line in _text(_MEMORY).splitlines():
        if line.startswith("MemAvailable:"):
            available = min(int(line.split()[1]) * 1024, total)
            detail += f", {available / _GIB:.1f} GiB of it available"
    if total < _LEAST_MEMORY:
        remedy = (
            f"The embedded model needs up to {_LEAST_MEMORY / _GIB:.0f} GiB; lower "
            "scoring.token_budget and training.micro_batch_tokens in toolformer.yaml"
        )
        return Finding("memory", "warning", detail, remedy)
    return Finding("memory", "ok", detail)


def _processor() -> Finding:
    instructions = "with" if has_bfloat16_instructions() else "without"
    return Finding(
        "processor", "ok", f"{os.cpu_count()} cores {instructions} instructions for bfloat16"
    )


def _graphics_card() -> Finding:
    program = shutil.which("nvidia-smi")
    optional = "Not needed for the embedded model; larger models want an NVIDIA card with driver"
    if program is None:
        return Finding("GPU", "missing", "no NVIDIA driver found; the processor is used", optional)
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_GPU_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(
            "GPU", "warning", f"nvidia-smi does not work: {error}", "Check the NVIDIA driver"
        )
    cards = "; ".join(line.strip() for line in answer.stdout.splitlines() if line.strip())
    if not cards:
        return Finding(
            "GPU", "missing", "nvidia-smi lists no card; the processor is used", optional
        )
    try:
        is_cpu_build = version("torch").endswith("+cpu")
    except PackageNotFoundError:
        is_cpu_build = False
    if is_cpu_build:
        remedy = "Install the CUDA build of torch"
        return Finding("GPU", "warning", f"{cards}; the installed torch cannot use it", remedy)
    return Finding("GPU", "ok", cards)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next((folder for folder in (path, *path.parents) if folder.exists()), Path("/"))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
