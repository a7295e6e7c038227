"""The state of a finetuning run on disk: a killed run goes on, the best checkpoint is kept.

Weights and optimiser moments lie in safetensors files, everything else in JSON, so reading a state
never runs code. A state or checkpoint appears whole, by rename, with the digests of its files: one
that was altered is not gone on with. Several processes write a state together, and any number of
processes goes on from it. Does not train.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.errors import CheckpointError
from toolformer.ground.kept_digests import DIGESTS_FILE, damaged_files, keep_digests
from toolformer.ground.whole_files import write_whole
from toolformer.training.process_group import ProcessGroup
from toolformer.training.sharded_tensors import load_tensors, save_tensors, tensor_names
from toolformer.training.training_rows import TrainingRow
from toolformer.training.whole_folders import remove, temporary_of, write_folder_whole, writing

if TYPE_CHECKING:
    import torch
    from torch.optim import Optimizer

_FINGERPRINT_FILE = "fingerprint"
_PROGRESS_FILE = "progress.json"
_ALTERED = "its files were altered after they were written"
_WEIGHTS = "weights"
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True)
class StepReport:
    """One optimiser step.

    Attributes:
        step: number of the step, from 1.
        loss: mean training loss of the step's batch before the step, in nats per token.
        learning_rate: learning rate of the step.
        tokens: tokens trained on so far, this step included.
        development_perplexity: after the step; None where it was not measured.
    """

    step: int
    loss: float
    learning_rate: float
    tokens: int
    development_perplexity: float | None


@dataclass(slots=True)
class Progress:
    """What is known of a run besides weights and optimiser.

    Attributes:
        base_perplexity: development perplexity before the first step.
        seconds: time spent so far, interrupted runs included.
        best_step, best_perplexity: the best checkpoint so far; None before the first evaluation.
        history: all steps done.
    """

    base_perplexity: float
    seconds: float = 0.0
    best_step: int | None = None
    best_perplexity: float | None = None
    history: list[StepReport] = field(default_factory=list)

    @property
    def step(self) -> int:
        """Number of steps done."""
        return self.history[-1].step if self.history else 0

    @property
    def tokens(self) -> int:
        """Tokens trained on so far."""
        return self.history[-1].tokens if self.history else 0


class TrainingState:
    """The folder of one run.

    What another run left in the folder is of no use and is removed first. Where several processes
    train, each of them has one of these, and all call what saves or restores.

    Args:
        folder: made when missing; only what this class writes is ever removed from it.
        fingerprint: of everything that the numbers of the run follow from.
        group: the processes that train; this one alone by default.

    Raises:
        TrainingError: the folder cannot be written.
    """

    def __init__(self, folder: Path, *, fingerprint: str, group: ProcessGroup | None = None):
        self._folder = folder
        self._fingerprint = fingerprint
        self._group = group or ProcessGroup()
        self._saved_best: int | None = None
        if self._group.is_first:
            self._take_folder()
        self._group.wait()

    def _take_folder(self) -> None:
        marker = self._folder / _FINGERPRINT_FILE
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self.remove_leftovers()
            if not marker.exists() or marker.read_bytes() != self._fingerprint.encode():
                self.clear()
                write_whole(marker, self._fingerprint)

    def remove_leftovers(self) -> None:
        """Remove what a killed process had begun to write."""
        for leftover in (f"{_FINGERPRINT_FILE}.*.tmp", ".state-*.tmp", ".best-*.tmp"):
            remove(self._folder.glob(leftover))

    @property
    def saved_step(self) -> int:
        """Steps done in the newest saved state; 0 where there is none."""
        newest = self._newest_state()
        return 0 if newest is None else _step_of(newest)

    def load_progress(self) -> Progress | None:
        """The progress of the newest saved state, None where there is none.

        Raises:
            CheckpointError: the state is damaged.
        """
        newest = self._newest_state()
        if newest is None:
            return None
        # One process reads all bytes; if they are damaged, it ends the others.
        if self._group.is_first:
            self._check(newest)
        self._group.wait()
        with self._reading(newest):
            stored = json.loads((newest / _PROGRESS_FILE).read_text())
            stored["history"] = [StepReport(**row) for row in stored["history"]]
            progress = Progress(**stored)
        if progress.best_step is not None:
            best = self.best_folder(progress.best_step)
            if not best.is_dir():
                raise self._damaged(newest, f"its best checkpoint {progress.best_step} is missing")
            if self._group.is_first:
                self._check(best)
            self._group.wait()
        self._saved_best = progress.best_step
        return progress

    def restore(self, weights: "Mapping[str, torch.Tensor]", optimizer: "Optimizer") -> None:
        """Put weights and optimiser moments of the newest state in place.

        Args:
            weights: those that are trained, by name; they are overwritten. However many processes
                share them here, and shared them when the state was saved.
            optimizer: a fresh one with these weights, in their order, as its one group.

        Raises:
            CheckpointError: the state is damaged or belongs to another model.
        """
        import torch

        newest = self._newest_state()
        if newest is None:
            raise CheckpointError(f"There is no saved training state in {str(self._folder)!r}.")
        state: dict[int, dict[str, torch.Tensor]] = {}
        with self._reading(newest), torch.no_grad():
            stored = tensor_names(newest)
            tensors = {f"{_WEIGHTS}.{name}": weight.detach() for name, weight in weights.items()}
            steps = torch.tensor(float(_step_of(newest)))
            for index, (name, weight) in enumerate(weights.items()):
                # A weight that never had a gradient has no moments.
                for moment in _MOMENTS:
                    if f"{moment}.{name}" in stored:
                        of_weight = state.setdefault(index, {"step": steps.clone()})
                        of_weight[moment] = torch.zeros_like(weight.detach())
                        tensors[f"{moment}.{name}"] = of_weight[moment]
            load_tensors(tensors, newest, self._group)
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})

    def save(
        self, weights: "Mapping[str, torch.Tensor]", optimizer: "Optimizer", progress: Progress
    ) -> None:
        """Save everything that a later run needs to go on after `progress.step`.

        Args:
            weights: those that are trained, by name.
            optimizer: has them, in their order, as its one group.
            progress: of the run.

        Raises:
            TrainingError: the disk is full or cannot be written.
        """
        tensors = {f"{_WEIGHTS}.{name}": weight for name, weight in weights.items()}
        for moment in _MOMENTS:
            tensors |= {
                f"{moment}.{name}": optimizer.state[weight][moment]
                for name, weight in weights.items()
                if moment in optimizer.state[weight]
            }

        def write(folder: Path) -> None:
            save_tensors(tensors, folder, self._group)
            if self._group.is_first:
                _write_progress(folder, progress)

        self._save_state(progress, write)

    def save_finished(self, progress: Progress) -> None:
        """Save the progress of a run that has no step left, which needs no weights to go on."""

        def write(folder: Path) -> None:
            if self._group.is_first:
                _write_progress(folder, progress)

        self._save_state(progress, write)

    def save_best(self, step: int, write: Callable[[Path], object]) -> None:
        """Save the weights after `step` as the best so far.

        The one that the newest saved state speaks of stays until the next state is saved: a killed
        run goes back to that state.

        Args:
            step: the step.
            write: writes them into the folder that it is given; called in the first process alone.

        Raises:
            TrainingError: the disk is full or cannot be written.
        """
        if self._group.is_first:
            self._write_sealed(self.best_folder(step), write)
            self._remove_best_except({step, self._saved_best})
        self._group.wait()

    def checked_best(self, step: int) -> Path:
        """The folder with the checkpoint of `step`, the best one.

        Raises:
            CheckpointError: it is damaged.
        """
        best = self.best_folder(step)
        self._check(best)
        return best

    def copy_best(self, step: int, target: Path) -> None:
        """Copy the checkpoint of `step`, the best one, into a folder; `check_copy` reads it."""
        without_digests = shutil.ignore_patterns(DIGESTS_FILE)
        shutil.copytree(self.best_folder(step), target, dirs_exist_ok=True, ignore=without_digests)

    def check_copy(self, step: int, target: Path) -> None:
        """Compare a copy of the checkpoint of `step` with what was written, by kept digests alone.

        Args:
            step: the step.
            target: has the copy, maybe other files, and digests of all.

        Raises:
            CheckpointError: the copy is another one.
        """
        best = self.best_folder(step)
        with self._reading(best):
            written, copied = (
                json.loads((folder / DIGESTS_FILE).read_text())["files"]
                for folder in (best, target)
            )
        if not written.items() <= copied.items():
            raise self._damaged(best, _ALTERED)

    def save_batch(self, step: int, indices: Sequence[int], rows: Sequence[TrainingRow]) -> Path:
        """Keep the batch of a step at which training came to no number, for people to look at.

        Args:
            step: the step.
            indices: places of the rows among all training rows.
            rows: the batch.

        Returns:
            The file, in JSON. It stays until the folder serves another run or the output is there.

        Raises:
            TrainingError: the disk is full or cannot be written.
        """
        file = self._folder / f"batch-{step:08d}.json"
        content = [
            {"row": index, "ids": list(row.ids), "kinds": list(row.kinds)}
            for index, row in zip(indices, rows, strict=True)
        ]
        with writing(file):
            if self._group.is_first:
                write_whole(file, json.dumps({"step": step, "rows": content}) + "\n")
        self._group.wait()
        return file

    def best_folder(self, step: int) -> Path:
        """Where the checkpoint of `step` lies while it is the best."""
        return self._folder / f"best-{step:08d}"

    def clear(self) -> None:
        """Remove everything that this class wrote."""
        (self._folder / _FINGERPRINT_FILE).unlink(missing_ok=True)
        remove(self._folder.glob("state-*"))
        remove(self._folder.glob("best-*"))
        remove(self._folder.glob("batch-*.json"))

    def _save_state(self, progress: Progress, write: Callable[[Path], object]) -> None:
        """Save a state that all processes write together."""
        target = self._folder / f"state-{progress.step:08d}"

        def write_together(folder: Path) -> None:
            # The first process has made the folder.
            self._group.wait()
            write(folder)

        if self._group.is_first:
            self._write_sealed(target, write_together)
            remove(each for each in self._folder.glob("state-*") if each != target)
            self._remove_best_except({progress.best_step})
        else:
            with writing(target):
                write_together(temporary_of(target))
        self._saved_best = progress.best_step
        self._group.wait()

    def _write_sealed(self, target: Path, write: Callable[[Path], object]) -> None:
        def write_and_seal(folder: Path) -> None:
            write(folder)
            keep_digests(folder)

        write_folder_whole(target, write_and_seal)

    def _check(self, folder: Path) -> None:
        """Raise unless the files are those that were written."""
        with self._reading(folder):
            damaged = damaged_files(folder)
        if damaged is None:
            raise self._damaged(folder, f"it has no file {DIGESTS_FILE!r}")
        if damaged:
            raise self._damaged(folder, _ALTERED)

    def _remove_best_except(self, steps: set[int | None]) -> None:
        kept = {self.best_folder(step) for step in steps if step is not None}
        remove(each for each in self._folder.glob("best-*") if each not in kept)

    def _newest_state(self) -> Path | None:
        return max(self._folder.glob("state-*"), default=None)

    @contextmanager
    def _reading(self, state: Path) -> Iterator[None]:
        from safetensors import SafetensorError

        try:
            yield
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
            raise self._damaged(state, str(error)) from error

    def _damaged(self, state: Path, why: str) -> CheckpointError:
        return CheckpointError(
            f"The saved training state {str(state)!r} cannot be used: {why}. Expected the state "
            f"of this very run. Remove {str(self._folder)!r} to train from the beginning."
        )


def _step_of(state: Path) -> int:
    return int(state.name.removeprefix("state-"))


def _write_progress(folder: Path, progress: Progress) -> None:
    (folder / _PROGRESS_FILE).write_text(json.dumps(asdict(progress)))
