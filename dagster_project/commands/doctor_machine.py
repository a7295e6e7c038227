"""Checks the machine: folder of the home, disk, memory and graphics card.

Without importing torch, which takes seconds.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from dagster_project.commands.findings import Finding
from toolformer.forward.memory import GIB, machine_memory

_MIN_FREE_DISK = 5 * GIB
_MIN_MEMORY = 4 * GIB  # the peak of the embedded model in the demo
_GPU_SECONDS = 1.5


def examine_machine(root: Path, cache: Path | None = None) -> Iterator[Finding]:
    """Look at the machine: what may need a remedy.

    Args:
        root: folder of the home, which all machines share; it need not exist.
        cache: folder of what belongs to this machine, where it is another one.
    """
    for name, folder in {"home": root, "cache": cache}.items():
        if folder is not None:
            yield _folder(name, folder)
            yield _disk(name, folder)
    yield _memory()
    yield from _graphics_card()


def _folder(name: str, root: Path) -> Finding:
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
        return Finding(name, "ok", f"{root} can be written")
    parent = _existing(root)
    if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
        return Finding(name, "ok", f"{root} is made at first use")
    remedy = f"Set {variable} to a folder that can be made"
    return Finding(name, "missing", f"{root} cannot be made in {parent}", remedy)


def _disk(of: str, root: Path) -> Finding:
    name = "disk" if of == "home" else f"disk of the {of}"
    free = shutil.disk_usage(_existing(root)).free
    detail = f"{free / GIB:.1f} GiB free"
    if free < _MIN_FREE_DISK:
        needed = f"{_MIN_FREE_DISK / GIB:.0f} GiB"
        remedy = f"Free {needed}, or set TOOLFORMER_{of.upper()} to another disk"
        return Finding(name, "warning", detail, remedy)
    return Finding(name, "ok", detail)


def _memory() -> Finding:
    total, available = machine_memory()
    detail = f"{total / GIB:.1f} GiB, {available / GIB:.1f} GiB of it available"
    if total < _MIN_MEMORY:
        remedy = (
            f"The embedded model needs up to {_MIN_MEMORY / GIB:.0f} GiB; lower "
            "scoring.token_budget and training.micro_batch_tokens in toolformer.yaml"
        )
        return Finding("memory", "warning", detail, remedy)
    return Finding("memory", "ok", detail)


def _graphics_card() -> Iterator[Finding]:
    """Whether torch can use the NVIDIA cards; nothing where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_GPU_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        detail = f"nvidia-smi does not work: {error}"
        yield Finding("GPU", "warning", detail, "Check the NVIDIA driver")
        return
    cards = "; ".join(line.strip() for line in answer.stdout.splitlines() if line.strip())
    if cards and version("torch").endswith("+cpu"):
        remedy = "Install the CUDA build of torch"
        yield Finding("GPU", "warning", f"{cards}; the installed torch cannot use it", remedy)
    elif cards:
        yield Finding("GPU", "ok", cards)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next((folder for folder in (path, *path.parents) if folder.exists()), Path("/"))
