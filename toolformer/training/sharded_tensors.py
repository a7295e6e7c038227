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

from safetensors import SafetensorError

from toolformer.training.process_group import ProcessGroup

if TYPE_CHECKING:
    import torch

# Tensors that one file holds: its bytes stand in memory twice more while it is written.
_FILE_BYTES = 2**27


def save_tensors(tensors: "Mapping[str, torch.Tensor]", folder: Path, group: ProcessGroup) -> None:
    """Write tensors, whole or in parts (`DTensor`); all processes have to call it.

    Raises:
        OSError: a process could not write.
        SafetensorError: likewise.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    if not tensors:
        return
    files: dict[str, int] = {}
    number, filled = 1, 0
    for name, tensor in tensors.items():
        if filled >= _FILE_BYTES:
            number, filled = number + 1, 0
        files[name] = number
        filled += tensor.numel() * tensor.element_size()
    writer = HuggingFaceStorageWriter(
        str(folder), fqn_to_index_mapping=files, save_distributed=True
    )
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with _own_errors():
        save(contiguous, storage_writer=writer, no_dist=group.size == 1)


def load_tensors(tensors: "Mapping[str, torch.Tensor]", folder: Path, group: ProcessGroup) -> None:
    """Overwrite tensors by name, however they are divided here; all processes have to call it.

    Raises:
        ValueError: a tensor is missing, or has another shape.
        OSError: a file cannot be read.
        SafetensorError: a file is damaged.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = HuggingFaceStorageReader(str(folder))
    with _own_errors():
        load(dict(tensors), storage_reader=reader, no_dist=group.size == 1)


@contextmanager
def _own_errors() -> Iterator[None]:
    """Give the error of the process that failed, not one about the errors of processes."""
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
