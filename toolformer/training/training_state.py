"""The state of a finetuning run on disk: a killed run goes on, the best checkpoint is kept.

Weights and optimiser moments lie in safetensors files, everything else in JSON, so reading a state
never runs code. A state or checkpoint appears whole, by rename. Several processes write a state
together, by `torch.distributed.checkpoint`, and any number of processes goes on from it.
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

from toolformer.base.whole_files import replacing_folder, write_whole
from toolformer.errors import CheckpointError, TrainingError
from toolformer.json_files import read_entries
from toolformer.training.process_group import ProcessGroup
from toolformer.training.progress import Progress

_FINGERPRINT_FILE = "fingerprint"
_PROGRESS_FILE = "progress.json"
_MOMENTS = ("exp_avg", "exp_avg_sq")
# Tensors that one file holds: its bytes stand in memory twice more while it is written.
_FILE_BYTES = 2**27


class TrainingState:
    """The folder of one run; what another run left in it is removed first.

    If several processes train, each of them has one of these, and all call what saves or restores.

    Args:
        folder: made if missing; only what this class writes is ever removed from it.
        fingerprint: fingerprint of everything that the numbers of the run follow from.
        group: the processes that train; this one alone by default.

    Raises:
        TrainingError: the folder cannot be written.
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
                write_whole(marker, fingerprint)

    def remove_leftovers(self) -> None:
        """Remove what a killed process had begun to write."""
        for leftover in (f"{_FINGERPRINT_FILE}.*.tmp", ".state-*.tmp", ".checkpoint-*.tmp"):
            _remove(self._folder.glob(leftover))

    def load_progress(self) -> Progress | None:
        """Return the progress of the newest saved state, None if there is none.

        Raises:
            CheckpointError: the state is damaged.
        """
        newest = max(self._folder.glob("state-*"), default=None)
        if newest is None:
            return None
        try:
            progress = read_entries(newest / _PROGRESS_FILE, Progress)
        except (OSError, ValueError) as error:
            raise self._damaged(newest, error) from error
        self._saved_candidates = progress.candidates
        return progress

    def restore(
        self, weights: Mapping[str, Tensor], optimizer: Optimizer, progress: Progress
    ) -> None:
        """Overwrite weights, by name, and optimiser moments with those of a saved state.

        The state may have been saved by more or fewer processes.

        Raises:
            CheckpointError: it is damaged or belongs to another model.
        """
        newest = self._state_after(progress.step)
        try:
            load_tensors(_tensors(weights, optimizer), newest, self._group)
        except OSError as error:
            raise self._damaged(newest, error) from error
        for moments in optimizer.state.values():
            moments["step"].fill_(progress.step)

    def save(self, weights: Mapping[str, Tensor], optimizer: Optimizer, progress: Progress) -> None:
        """Save everything that a later run needs to go on after `progress.step`.

        Args:
            weights: those that are trained, by name; none behind the last step.

        Raises:
            TrainingError: the disk is full or cannot be written.
        """
        target = self._state_after(progress.step)
        # All processes write into one folder, which the first one makes.
        temporary = target.with_name(f".{target.name}.tmp")
        is_first = self._group.is_first
        with writing(target), replacing_folder(target, temporary) if is_first else nullcontext():
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
        """Save the weights after the newest step, and remove those that are no candidates now.

        The candidates of the newest saved state stay until the next state is saved: a killed run
        goes back to that state.

        Args:
            write: writes them into the folder that it is given; called in the first process alone.

        Raises:
            TrainingError: the disk is full or cannot be written.
        """
        if self._group.is_first:
            checkpoint = self.checkpoint(progress.step)
            temporary = checkpoint.with_name(f".{checkpoint.name}.tmp")
            with writing(checkpoint), replacing_folder(checkpoint, temporary):
                write(temporary)
            self._remove_checkpoints_except([*progress.candidates, *self._saved_candidates])
        self._group.wait()

    def checkpoint(self, step: int) -> Path:
        """Return the folder with the weights after `step`."""
        return self._folder / f"checkpoint-{step:08d}"

    def _remove_checkpoints_except(self, steps: Iterable[int]) -> None:
        kept = {self.checkpoint(step) for step in steps}
        _remove(each for each in self._folder.glob("checkpoint-*") if each not in kept)

    def _state_after(self, step: int) -> Path:
        return self._folder / f"state-{step:08d}"

    def _damaged(self, state: Path, error: Exception) -> CheckpointError:
        return CheckpointError(
            f"The saved training state {str(state)!r} cannot be used: {error}. Expected the state "
            f"of this very run. Remove {str(self._folder)!r} to train from the beginning."
        )


def clear_state(folder: Path) -> None:
    """Remove everything that `TrainingState` wrote into a folder."""
    (folder / _FINGERPRINT_FILE).unlink(missing_ok=True)
    _remove(folder.glob("state-*"))
    _remove(folder.glob("checkpoint-*"))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn failures to write below `path` into an error that says what to do.

    Raises:
        TrainingError: instead of `OSError` and `SafetensorError`.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{str(path)!r} cannot be written: {error}. Training needs about six times the size of "
            "the float32 weights on disk, and once more for each of training.evaluations. Free "
            "space or choose another folder and run again; a run that has saved its state goes on "
            "from there."
        ) from error


def _tensors(weights: Mapping[str, Tensor], optimizer: Optimizer) -> dict[str, Tensor]:
    """Return what a state holds: weights and their moments, by name."""
    tensors = {f"weights.{name}": weight.detach() for name, weight in weights.items()}
    for moment in _MOMENTS:
        tensors |= {
            f"{moment}.{name}": optimizer.state[weight][moment] for name, weight in weights.items()
        }
    return tensors


def _remove(paths: Iterable[Path]) -> None:
    """Remove files and folders; those that are not there count as removed."""
    for path in list(paths):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def save_tensors(tensors: Mapping[str, Tensor], folder: Path, group: ProcessGroup) -> None:
    """Write tensors, whole or in parts (`DTensor`); all processes have to call it.

    The headers of the files say which part of which tensor they hold. The usual index of torch is a
    pickle, which can run code when it is read; this form has none.

    Raises:
        OSError: a process could not write.
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
    """Overwrite tensors by name, however they are divided here; all processes have to call it.

    Raises:
        OSError: a file cannot be read, or lacks a tensor of this shape.
    """
    reader = HuggingFaceStorageReader(str(folder))
    with _error_of_the_process_that_failed():
        load(dict(tensors), storage_reader=reader, no_dist=group.size == 1)


@contextmanager
def _error_of_the_process_that_failed() -> Iterator[None]:
    with warnings.catch_warnings():
        # One process alone is no oversight.
        warnings.filterwarnings("ignore", message=r"torch\.distributed is disabled")
        try:
            yield
        except CheckpointException as error:
            process, (cause, _) = next(iter(error.failures.items()))
            raise OSError(f"{type(cause).__name__} in process {process}: {cause}") from error
