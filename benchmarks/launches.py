"""Counts the overhead of a sampling step: everything except arithmetic.

A GPU waits for Python, for copies of keys, and for each number that is sent to the host. These
counts do not depend on the machine, so they can be compared without a GPU:

- passes: forward passes of the body. The first one feeds the forced tokens, each other one a step.
- launches: operations that would be kernels on a GPU, so not views.
- keys copied: bytes of keys and values that are written again, without the new ones of a step.
- transfers: how often the host waits for a number from the device.
- Python calls: calls to and from functions in the engine's own modules.

Each tool samples once for the counts and once for the time. By default attention is the one that
the engine uses on a CPU. `--attention grouped` is the one it uses on a GPU, and `--attention sdpa`
is transformers' own.

    python -m benchmarks.launches [--documents FILE] [--model DIR] [--attention NAME] [--json FILE]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AttentionInterface

import toolformer
from benchmarks.machine import machine, versions
from benchmarks.ours import sample
from benchmarks.workload import (
    ToolWorkload,
    default_documents_file,
    paper_workloads,
    read_documents,
)
from toolformer.forward.embedded_model import ensure_embedded_model
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.prefill import ReadTexts
from toolformer.forward.windows import Window
from toolformer.home.home import Home
from toolformer.sampling import shared_tokens

_DOCUMENT_TOKENS = 256
# Views that turn out to be copies are added at run time.
_COPIES = {"_to_copy", "cat", "clone", "copy_", "gather", "index", "index_put_", "index_select"}
_TRANSFERS = {"_local_scalar_dense", "item", "nonzero"}
# These compute nothing.
_WITHOUT_LAUNCH = {"_local_scalar_dense", "_unsafe_view", "empty", "item", "new_empty"}
_ENGINE = str(Path(toolformer.__file__).parent)


@dataclass(slots=True)
class Counts:
    """Counts over all sampling steps, as defined in the module docstring."""

    passes: int = 0
    tokens_fed: int = 0
    launches: int = 0
    bytes_of_keys: int = 0
    transfers: int = 0
    python_calls: int = 0
    seconds: float = 0.0


class _Operations(TorchDispatchMode):
    """Adds the operations of a block to counts.

    A tensor would be on the GPU if it has floating-point numbers or was computed from such tensors.
    Other tensors are indexes, which stay on the host. A tensor of shape `(rows, heads, …, keys,
    size)` counts as keys if it has at least `min_keys` of them.
    """

    def __init__(self, counts: Counts, *, min_keys: int):
        super().__init__()
        self._counts, self._min_keys = counts, min_keys

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not any(map(is_on_gpu, _tensors([args, result]))):
            return result
        for tensor in _tensors([result]):
            tensor.is_on_gpu = True
        self._counts.transfers += name in _TRANSFERS
        if name in _WITHOUT_LAUNCH or (func.is_view and _shares_memory(result, args[0])):
            return result
        self._counts.launches += 1
        written = {"copy_": 0, "index_put_": 2}.get(name)
        copy = result if written is None else args[written]
        if (
            (func.is_view or name in _COPIES)
            and copy.dim() >= 4
            and copy.shape[-2] >= self._min_keys
        ):
            self._counts.bytes_of_keys += copy.nbytes
        return result


def is_on_gpu(tensor: torch.Tensor) -> bool:
    """Return whether a tensor would be on the GPU; see `_Operations`."""
    return tensor.is_floating_point() or hasattr(tensor, "is_on_gpu")


def _shares_memory(result: Any, source: torch.Tensor) -> bool:
    # A reshape may copy.
    storages = (each.untyped_storage().data_ptr() for each in (*_tensors([result]), source))
    return len(set(storages)) == 1


def _tensors(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _tensors(value)
        elif isinstance(value, torch.Tensor):
            yield value


@contextmanager
def _counted(model: LanguageModel, counts: Counts, *, min_keys: int) -> Iterator[None]:
    def fed(_module: Any, _arguments: Any, named: dict[str, Any]) -> None:
        counts.passes += 1
        counts.tokens_fed += named["input_ids"].numel()

    def called(frame: Any, event: str, _: Any) -> None:
        if event in ("call", "c_call") and frame.f_code.co_filename.startswith(_ENGINE):
            counts.python_calls += 1

    def counting(method: Callable[..., Any]) -> Callable[..., Any]:
        def to_host(tensor: torch.Tensor, *arguments: Any) -> Any:
            counts.transfers += is_on_gpu(tensor)
            return method(tensor, *arguments)

        return to_host

    methods: dict[str, Any] = {
        name: counting(getattr(torch.Tensor, name)) for name in ("tolist", "cpu")
    }
    hook = model.model.base_model.register_forward_pre_hook(fed, with_kwargs=True)
    try:
        with mock.patch.multiple(torch.Tensor, **methods), _Operations(counts, min_keys=min_keys):
            sys.setprofile(called)
            yield
    finally:
        sys.setprofile(None)
        hook.remove()


def set_attention(model: LanguageModel, name: str) -> None:
    if name == "grouped":
        from toolformer.forward.shared_heads import grouped_attention

        AttentionInterface.register(name, grouped_attention)
    model.model.set_attn_implementation(name)


def measure(model: LanguageModel, tool: ToolWorkload, documents: Sequence[Window]) -> Counts:
    """Sample the calls of a tool, and count the steps after the texts were read."""
    counts, sampled = Counts(), ReadTexts.sample
    min_keys = shared_tokens(model.tokenizer, tool.prompt)

    def with_counts(*arguments: Any, **named: Any) -> None:
        with _counted(model, counts, min_keys=min_keys):
            sampled(*arguments, **named)

    def with_clock(*arguments: Any, **named: Any) -> None:
        began = time.perf_counter()
        sampled(*arguments, **named)
        counts.seconds += time.perf_counter() - began

    ways: list[Callable[..., None]] = [with_counts, with_clock]
    for way in ways:
        with mock.patch.object(ReadTexts, "sample", way):
            sample(model, tool, documents[: tool.documents])
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="model directory; default: the embedded one")
    parser.add_argument("--documents", type=Path, help="JSON lines with a field text")
    parser.add_argument("--attention", choices=["grouped", "sdpa"])
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()
    path = options.model or ensure_embedded_model(Home.find().converted_models)
    model = LanguageModel.load(path, device="cpu")
    if options.attention is not None:
        set_attention(model, options.attention)
    # Half of the documents, so that they fit into one batch.
    tools = [replace(tool, documents=tool.documents // 2) for tool in paper_workloads()]
    documents = read_documents(
        options.documents or default_documents_file(),
        model.tokenizer,
        count=max(tool.documents for tool in tools),
        document_tokens=_DOCUMENT_TOKENS,
    )
    found = {tool.title: measure(model, tool, documents) for tool in tools}
    _print(found)
    if options.json is not None:
        tables = {title: asdict(counts) for title, counts in found.items()}
        figures = {"machine": machine(), "versions": versions(), "tools": tables}
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _print(found: dict[str, Counts]) -> None:
    from dagster_project.commands import console

    rows = [
        (
            title,
            counts.passes,
            counts.tokens_fed,
            round(counts.launches / counts.passes),
            round(counts.bytes_of_keys / counts.passes / 2**20, 1),
            round(counts.transfers / counts.passes, 2),
            round(counts.python_calls / counts.passes),
            round(counts.seconds, 2),
        )
        for title, counts in found.items()
    ]
    per_pass = ("launches", "MiB of keys copied", "transfers", "Python calls")
    columns = ["tool", "passes", "tokens fed", *(f"{name} per pass" for name in per_pass)]
    console.table([*columns, "seconds"], rows)


if __name__ == "__main__":
    main()
