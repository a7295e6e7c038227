"""The state of a finetuning run on disk: a killed run goes on, the best checkpoint is kept.

Weights and optimiser moments lie in safetensors files, everything else in JSON, so reading a state
never runs code. A state or checkpoint appears whole, by rename, with the digests of its files: one
that was altered is not gone on with. Several processes write a state together, and any number of
processes goes on from it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.errors import CheckpointError
from toolformer.ground.kept_digests import DIGESTS_FILE, damaged_files
from toolformer.ground.whole_files import write_whole
from toolformer.training.process_group import ProcessGroup
from toolformer.training.sharded_tensors import load_tensors, save_tensors, tensor_names
from toolformer.training.whole_folders import remove, sealed_folder, temporary_of, writing

if TYPE_CHECKING:
    import torch
    from torch.optim import Optimizer

_FINGERPRINT_FILE = "fingerprint"
_PROGRESS_FILE = "progress.json"
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
        self._group = group or ProcessGroup()
        self._saved_best: int | None = None
        if self._group.is_first:
            self._take_folder(fingerprint)
        self._group.wait()

    def _take_folder(self, fingerprint: str) -> None:
        marker = self._folder / _FINGERPRINT_FILE
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self.remove_leftovers()
            if not marker.exists() or marker.read_bytes() != fingerprint.encode():
                self.clear()
                write_whole(marker, fingerprint)

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
            CheckpointError: the state or the best checkpoint is damaged.
        """
        newest = self._newest_state()
        if newest is None:
            return None
        # One process reads all bytes; if they are damaged, it ends the others.
        if self._group.is_first:
            self._check(newest)
        self._group.wait()
        stored = json.loads((newest / _PROGRESS_FILE).read_text())
        stored["history"] = [StepReport(**row) for row in stored["history"]]
        progress = Progress(**stored)
        if progress.best_step is not None and self._group.is_first:
            self.checked_best(progress.best_step)
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
            CheckpointError: there is no state, or it is damaged or belongs to another model.
        """
        import torch
        from safetensors import SafetensorError

        newest = self._newest_state()
        if newest is None:
            raise CheckpointError(f"There is no saved training state in {str(self._folder)!r}.")
        state: dict[int, dict[str, torch.Tensor]] = {}
        tensors = {f"{_WEIGHTS}.{name}": weight.detach() for name, weight in weights.items()}
        try:
            stored = tensor_names(newest)
            for index, (name, weight) in enumerate(weights.items()):
                # A weight that never had a gradient has no moments.
                for moment in _MOMENTS:
                    if f"{moment}.{name}" in stored:
                        of_weight = state.setdefault(index, {})
                        of_weight["step"] = torch.tensor(float(_step_of(newest)))
                        of_weight[moment] = torch.zeros_like(weight.detach())
                        tensors[f"{moment}.{name}"] = of_weight[moment]
            load_tensors(tensors, newest, self._group)
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise self._damaged(newest, str(error)) from error

    def save(
        self, weights: "Mapping[str, torch.Tensor]", optimizer: "Optimizer", progress: Progress
    ) -> None:
        """Save everything that a later run needs to go on after `progress.step`.

        Args:
            weights: those that are trained, by name; none behind the last step.
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
        target = self._folder / f"state-{progress.step:08d}"
        if self._group.is_first:
            with sealed_folder(target) as folder:
                self._group.wait()
                save_tensors(tensors, folder, self._group)
                (folder / _PROGRESS_FILE).write_text(json.dumps(asdict(progress)))
            remove(state for state in self._folder.glob("state-*") if state != target)
            self._remove_best_except({progress.best_step})
        else:
            with writing(target):
                # The first process makes the folder.
                self._group.wait()
                save_tensors(tensors, temporary_of(target), self._group)
        self._saved_best = progress.best_step
        self._group.wait()

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
            with sealed_folder(self._best_folder(step)) as folder:
                write(folder)
            self._remove_best_except({step, self._saved_best})
        self._group.wait()

    def checked_best(self, step: int) -> Path:
        """The folder with the checkpoint of `step`, the best one.

        Raises:
            CheckpointError: it is damaged.
        """
        best = self._best_folder(step)
        self._check(best)
        return best

    def clear(self) -> None:
        """Remove everything that this class wrote."""
        (self._folder / _FINGERPRINT_FILE).unlink(missing_ok=True)
        remove(self._folder.glob("state-*"))
        remove(self._folder.glob("best-*"))

    def _check(self, folder: Path) -> None:
        """Raise unless the files are those that were written."""
        try:
            damaged = damaged_files(folder)
        except OSError as error:
            raise self._damaged(folder, str(error)) from error
        if damaged is None:
            raise self._damaged(folder, f"it has no file {DIGESTS_FILE!r}")
        if damaged:
            raise self._damaged(folder, "its files were altered after they were written")

    def _best_folder(self, step: int) -> Path:
        return self._folder / f"best-{step:08d}"

    def _remove_best_except(self, steps: set[int | None]) -> None:
        kept = {self._best_folder(step) for step in steps if step is not None}
        remove(best for best in self._folder.glob("best-*") if best not in kept)

    def _newest_state(self) -> Path | None:
        return max(self._folder.glob("state-*"), default=None)

    def _damaged(self, state: Path, why: str) -> CheckpointError:
        return CheckpointError(
            f"The saved training state {str(state)!r} cannot be used: {why}. Expected the state "
            f"of this very run. Remove {str(self._folder)!r} to train from the beginning."
        )


def _step_of(state: Path) -> int:
    return int(state.name.removeprefix("state-"))
