"""Saves checkpoints of a finetuning run, and its state, so that a killed run can resume.

Weights and optimiser moments are stored as safetensors and everything else as JSON, so loading a
state never runs code. States and checkpoints appear by atomic rename. Several processes save one
state together through `torch.distributed.checkpoint`; any number of processes can resume from it.
"""

import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import Optimizer

from toolformer.base.atomic_files import atomic_folder, write_atomically
from toolformer.errors import CheckpointError, TrainingError
from toolformer.json_files import read_dataclass
from toolformer.training.process_group import ProcessGroup
from toolformer.training.progress import Progress

_FINGERPRINT_FILE = "fingerprint"
_PROGRESS_FILE = "progress.json"
_MOMENTS = ("exp_avg", "exp_avg_sq")
# Target size of a tensor file. Writing a file needs twice its size in additional memory.
_FILE_BYTES = 2**27


class TrainingState:
    """State folder of one run. Opening it removes the state of a run with another fingerprint.

    If several processes train, each creates its own instance, and all of them must call the methods
    that save or restore. Files that this class did not write are never removed.
    """

    def __init__(self, folder: Path, *, fingerprint: str, group: ProcessGroup | None = None):
        self._folder = folder
        self._group = group or ProcessGroup()
        self._saved_candidates: list[int] = []
        if self._group.is_first:
            self._take_folder(fingerprint)
        self._group.wait()

    def _take_folder(self, fingerprint: str) -> None:
        marker = self._folder / _FINGERPRINT_FILE
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self.remove_leftovers()
            if not marker.exists() or marker.read_bytes() != fingerprint.encode():
                clear_state(self._folder)
                write_atomically(marker, fingerprint)

    def remove_leftovers(self) -> None:
        for leftover in (f"{_FINGERPRINT_FILE}.*.tmp", ".state-*.tmp", ".checkpoint-*.tmp"):
            _remove(self._folder.glob(leftover))

    def load_progress(self) -> Progress | None:
        """Return the progress of the newest saved state, or None if nothing was saved."""
        newest = max(self._folder.glob("state-*"), default=None)
        if newest is None:
            return None
        try:
            progress = read_dataclass(newest / _PROGRESS_FILE, Progress)
        except (OSError, ValueError) as error:
            raise self._damaged(newest, error) from error
        self._saved_candidates = progress.candidates
        return progress

    def restore(
        self, weights: Mapping[str, Tensor], optimizer: Optimizer, progress: Progress
    ) -> None:
        """Load weights and optimiser moments from the state saved after `progress.step`."""
        newest = self._state_after(progress.step)
        try:
            load_tensors(_tensors(weights, optimizer), newest, self._group)
        except OSError as error:
            raise self._damaged(newest, error) from error
        for moments in optimizer.state.values():
            moments["step"].fill_(progress.step)

    def save(self, weights: Mapping[str, Tensor], optimizer: Optimizer, progress: Progress) -> None:
        """Save what a run needs to resume after `progress.step`; `weights` is empty at its end."""
        target = self._state_after(progress.step)
        # All processes write into the same folder. The first process creates it.
        temporary = target.with_name(f".{target.name}.tmp")
        is_first = self._group.is_first
        with writing(target), atomic_folder(target, temporary) if is_first else nullcontext():
            self._group.wait()
            save_tensors(_tensors(weights, optimizer), temporary, self._group)
            if is_first:
                (temporary / _PROGRESS_FILE).write_text(json.dumps(asdict(progress)))
        if is_first:
            _remove(state for state in self._folder.glob("state-*") if state != target)
            self._remove_checkpoints_except(progress.candidates)
        self._saved_candidates = progress.candidates
        self._group.wait()

    def save_checkpoint(self, progress: Progress, write: Callable[[Path], object]) -> None:
        """Save a checkpoint of the newest step and remove those that can no longer be the best.

        Candidates of the newest saved state are kept until the next state is saved, because a
        killed run resumes from that state. Only the first process calls `write`.
        """
        if self._group.is_first:
            checkpoint = self.checkpoint(progress.step)
            temporary = checkpoint.with_name(f".{checkpoint.name}.tmp")
            with writing(checkpoint), atomic_folder(checkpoint, temporary):
                write(temporary)
            self._remove_checkpoints_except([*progress.candidates, *self._saved_candidates])
        self._group.wait()

    def checkpoint(self, step: int) -> Path:
        return self._folder / f"checkpoint-{step:08d}"

    def _remove_checkpoints_except(self, steps: Iterable[int]) -> None:
        kept = {self.checkpoint(step) for step in steps}
        _remove(each for each in self._folder.glob("checkpoint-*") if each not in kept)

    def _state_after(self, step: int) -> Path:
        return self._folder / f"state-{step:08d}"

    def _damaged(self, state: Path, error: Exception) -> CheckpointError:
        return CheckpointError(
            f"The saved training state {str(state)!r} cannot be loaded: {error}. Expected an "
            f"intact state of this run. Remove {str(self._folder)!r} to train from the beginning."
        )


def clear_state(folder: Path) -> None:
    (folder / _FINGERPRINT_FILE).unlink(missing_ok=True)
    _remove(folder.glob("state-*"))
    _remove(folder.glob("checkpoint-*"))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Convert `OSError` and `SafetensorError` while writing `path` to `TrainingError`."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{str(path)!r} cannot be written: {error}. Training needs disk space for about six "
            "times the float32 weights, plus once their size for each of training.evaluations. "
            "Free space or choose another folder, then run the same command again: training "
            "resumes from the last saved state."
        ) from error


def _tensors(weights: Mapping[str, Tensor], optimizer: Optimizer) -> dict[str, Tensor]:
    tensors = {f"weights.{name}": weight.detach() for name, weight in weights.items()}
    for moment in _MOMENTS:
        tensors |= {
            f"{moment}.{name}": optimizer.state[weight][moment] for name, weight in weights.items()
        }
    return tensors


def _remove(paths: Iterable[Path]) -> None:
    for path in list(paths):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def save_tensors(tensors: Mapping[str, Tensor], folder: Path, group: ProcessGroup) -> None:
    """Write tensors, which may be sharded (`DTensor`). Every process of the group must call this.

    The file headers record which shard of which tensor a file holds. PyTorch's default format
    would add an index as a pickle, which can run code when it is loaded.
    """
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
    with _error_of_the_process_that_failed():
        save(contiguous, storage_writer=writer, no_dist=group.size == 1)


def load_tensors(tensors: Mapping[str, Tensor], folder: Path, group: ProcessGroup) -> None:
    """Load tensors in place, whatever their sharding. Every process of the group must call this."""
    reader = HuggingFaceStorageReader(str(folder))
    with _error_of_the_process_that_failed():
        load(dict(tensors), storage_reader=reader, no_dist=group.size == 1)


@contextmanager
def _error_of_the_process_that_failed() -> Iterator[None]:
    with warnings.catch_warnings():
        # The warning is expected, because a single process does not use torch.distributed.
        warnings.filterwarnings("ignore", message=r"torch\.distributed is disabled")
        try:
            yield
        except CheckpointException as error:
            process, (cause, _) = next(iter(error.failures.items()))
            raise OSError(f"{type(cause).__name__} in process {process}: {cause}") from error
