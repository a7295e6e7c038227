"""Counts what a step of sampling costs beside arithmetic, on a processor and for a card.

A card waits for Python, for copies of keys, and for each number that goes to the host. Their counts
do not depend on the machine, so they can be compared without a card:

- passes: forward passes of the body; the first feeds the forced tokens, the others a step each.
- launches: operations that would be kernels on a card; views are none.
- keys copied: bytes of keys and values that are written again, the new ones of a step left out.
- transfers: waits of the host for a number of the device.
- Python calls: calls that the engine's own modules receive and make.

Each tool samples once for the counts and once for the seconds. Attention is the engine's on a
processor; `--attention grouped` is what it is on a card, and `--attention sdpa` transformers' own.

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
# Beside views that turn out to be copies.
_COPIES = {"_to_copy", "cat", "clone", "copy_", "gather", "index", "index_put_", "index_select"}
_TRANSFERS = {"_local_scalar_dense", "item", "nonzero"}
# These compute nothing.
_WITHOUT_LAUNCH = {"_local_scalar_dense", "_unsafe_view", "empty", "item", "new_empty"}
_ENGINE = str(Path(toolformer.__file__).parent)


@dataclass(slots=True)
class Counts:
    """Counts over all steps of sampling; see the module."""

    passes: int = 0
    tokens_fed: int = 0
    launches: int = 0
    bytes_of_keys: int = 0
    transfers: int = 0
    python_calls: int = 0
    seconds: float = 0.0


class _Operations(TorchDispatchMode):
    """Adds the operations of a block to counts.

    Tensors count as lying on the card if they hold floating-point numbers or were computed from
    such tensors. The others say which key is whose, and stay on the host.

    Args:
        least_keys: a tensor of shape `(rows, heads, …, keys, size)` holds keys from so many on.
    """

    def __init__(self, counts: Counts, *, least_keys: int):
        super().__init__()
        self._counts, self._least_keys = counts, least_keys

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not any(map(is_on_card, _tensors([args, result]))):
            return result
        for tensor in _tensors([result]):
            tensor.is_on_card = True
        self._counts.transfers += name in _TRANSFERS
        if name in _WITHOUT_LAUNCH or (func.is_view and _shares_memory(result, args[0])):
            return result
        self._counts.launches += 1
        written = {"copy_": 0, "index_put_": 2}.get(name)
        copy = result if written is None else args[written]
        if (
            (func.is_view or name in _COPIES)
            and copy.dim() >= 4
            and copy.shape[-2] >= self._least_keys
        ):
            self._counts.bytes_of_keys += copy.nbytes
        return result


def is_on_card(tensor: torch.Tensor) -> bool:
    """Return whether a tensor would lie on the card; see `_Operations`."""
    return tensor.is_floating_point() or hasattr(tensor, "is_on_card")


def _shares_memory(result: Any, source: torch.Tensor) -> bool:
    """Return whether a view, or several, is no copy, as that of a reshape can be."""
    parts = (each.untyped_storage().data_ptr() for each in (*_tensors([result]), source))
    return len(set(parts)) == 1


def _tensors(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _tensors(value)
        elif isinstance(value, torch.Tensor):
            yield value


@contextmanager
def _counted(model: LanguageModel, counts: Counts, *, least_keys: int) -> Iterator[None]:
    """Count what happens inside the block."""

    def fed(_module: Any, _arguments: Any, named: dict[str, Any]) -> None:
        counts.passes += 1
        counts.tokens_fed += named["input_ids"].numel()

    def called(frame: Any, event: str, _: Any) -> None:
        if event in ("call", "c_call") and frame.f_code.co_filename.startswith(_ENGINE):
            counts.python_calls += 1

    def counting(method: Callable[..., Any]) -> Callable[..., Any]:
        def to_host(tensor: torch.Tensor, *arguments: Any) -> Any:
            counts.transfers += is_on_card(tensor)
            return method(tensor, *arguments)

        return to_host

    methods: dict[str, Any] = {
        name: counting(getattr(torch.Tensor, name)) for name in ("tolist", "cpu")
    }
    hook = model.model.base_model.register_forward_pre_hook(fed, with_kwargs=True)
    try:
        with (
            mock.patch.multiple(torch.Tensor, **methods),
            _Operations(counts, least_keys=least_keys),
        ):
            sys.setprofile(called)
            yield
    finally:
        sys.setprofile(None)
        hook.remove()


def set_attention(model: LanguageModel, name: str) -> None:
    """Let a model compute attention as `main` names it."""
    if name == "grouped":
        from toolformer.forward.shared_heads import grouped_attention

        AttentionInterface.register(name, grouped_attention)
    model.model.set_attn_implementation(name)


def measure(model: LanguageModel, tool: ToolWorkload, documents: Sequence[Window]) -> Counts:
    """Sample the calls of a tool, and count what it took after the texts were read."""
    counts, sampled = Counts(), ReadTexts.sample
    least_keys = shared_tokens(model.tokenizer, tool.prompt)

    def with_counts(*arguments: Any, **named: Any) -> None:
        with _counted(model, counts, least_keys=least_keys):
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
    """Count for each tool and print a table."""
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
    # Half of the documents: they are sampled in one batch.
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
