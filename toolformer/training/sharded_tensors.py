"""Tensors on disk that some processes write together and any number of processes reads.

They are written by `torch.distributed.checkpoint` into safetensors files, one or more for each
process, whose headers say which part of which tensor they hold. Its usual index is a pickle, which
can run code when it is read; this form has none.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.training.process_group import ProcessGroup

if TYPE_CHECKING:
    import torch

# Tensors that one file holds: its bytes stand in memory once more while it is written.
_FILE_BYTES = 2**29


def save_tensors(tensors: "Mapping[str, torch.Tensor]", folder: Path, group: ProcessGroup) -> None:
    """Write tensors; all processes have to call it.

    Args:
        tensors: whole or, as `DTensor`, in parts. Of what all have whole one process writes each.
        folder: is there.
        group: the processes.

    Raises:
        OSError: a process could not write.
        SafetensorError: likewise.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    if not tensors:
        return
    writer = HuggingFaceStorageWriter(
        str(folder), fqn_to_index_mapping=_files(tensors), save_distributed=True
    )
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with _own_errors():
        save(contiguous, storage_writer=writer, no_dist=group.size == 1)


def tensor_names(folder: Path) -> set[str]:
    """Which tensors a folder holds.

    Raises:
        SafetensorError: a file is damaged.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    return set(HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata)


def load_tensors(tensors: "Mapping[str, torch.Tensor]", folder: Path, group: ProcessGroup) -> None:
    """Fill tensors with what stands in a folder; all processes have to call it.

    Args:
        tensors: by name; their values are overwritten. However they are divided here, each process
            reads its parts.
        folder: written by any number of processes.
        group: the processes.

    Raises:
        ValueError: a tensor is missing, or has another shape.
        OSError: a file cannot be read.
        SafetensorError: a file is damaged.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    if tensors:
        with _own_errors():
            load(
                dict(tensors),
                storage_reader=HuggingFaceStorageReader(str(folder)),
                no_dist=group.size == 1,
            )


def _files(tensors: "Mapping[str, torch.Tensor]") -> dict[str, int]:
    """Number of the file that each tensor goes to, from 1."""
    files: dict[str, int] = {}
    number, filled = 1, 0
    for name, tensor in tensors.items():
        if filled >= _FILE_BYTES:
            number, filled = number + 1, 0
        files[name] = number
        filled += tensor.numel() * tensor.element_size()
    return files


@contextmanager
def _own_errors() -> Iterator[None]:
    """Give the error of the process that failed, not one about the errors of processes."""
    from safetensors import SafetensorError
    from torch.distributed.checkpoint.api import CheckpointException

    with warnings.catch_warnings():
        # One process alone is no oversight.
        warnings.filterwarnings("ignore", message=r"torch\.distributed is disabled")
        try:
            yield
        except CheckpointException as error:
            failed, (cause, _) = next(iter(error.failures.items()))
            if isinstance(cause, OSError | SafetensorError):
                raise cause from error
            raise ValueError(f"{type(cause).__name__} in process {failed}: {cause}") from error
