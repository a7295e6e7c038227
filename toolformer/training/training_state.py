"""The state of a finetuning run on disk: a killed run goes on, the best checkpoint is kept.

Weights and optimiser moments lie in safetensors files, everything else in JSON, so reading a state
never runs code. A state or checkpoint appears whole, by rename. Several processes write a state
together, and any number of processes goes on from it.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from toolformer.base.whole_files import replacing_folder, write_whole
from toolformer.errors import CheckpointError, TrainingError
from toolformer.json_files import read_entries
from toolformer.training.perplexity_rise import rises
from toolformer.training.process_group import ProcessGroup
from toolformer.training.sharded_tensors import load_tensors, save_tensors

if TYPE_CHECKING:
    import torch
    from torch.optim import Optimizer

_FINGERPRINT_FILE = "fingerprint"
_PROGRESS_FILE = "progress.json"
_MOMENTS = ("exp_avg", "exp_avg_sq")


# The training ends where so many measurements in a row were no better than the best.
_PATIENCE = 3


@dataclass(frozen=True, slots=True)
class DevelopmentLoss:
    """Mean losses of the development texts, in nats per token.

    Attributes:
        with_calls: of the texts with their calls; tokens count as in training.
        without_calls: of the same texts without calls.
        calls: of the calls alone, up to their arrows; None where the texts have none.
    """

    with_calls: float
    without_calls: float
    calls: float | None = None

    @property
    def mean(self) -> float:
        """Of all tokens: both losses count alike."""
        return (self.with_calls + self.without_calls) / 2

    @property
    def perplexity(self) -> float:
        """Perplexity of the texts without calls."""
        # Above this the exponential overflows; no model that learns comes near.
        return math.exp(min(self.without_calls, 700.0))


@dataclass(frozen=True, slots=True)
class StepReport:
    """One optimiser step.

    Attributes:
        step: number of the step, from 1.
        loss: mean training loss of the step's batch before the step, in nats per token.
        tokens: tokens trained on so far, this step included.
        development_perplexity: of the texts without calls, after the step; None where it was not
            measured.
        development_loss: `DevelopmentLoss.mean` after the step, likewise.
        call_loss: `DevelopmentLoss.calls` after the step, likewise.
    """

    step: int
    loss: float
    learning_rate: float
    tokens: int
    development_perplexity: float | None
    development_loss: float | None = None
    call_loss: float | None = None


def candidates(history: Iterable[StepReport]) -> list[StepReport]:
    """Return the measurements that may be the best at the end of a run, the best so far first.

    The best is, of all measurements whose perplexity is at most 5 % above the lowest, the one with
    the lowest call loss: a model learns early when to call, and late what to ask. The tokens of
    calls are too few for the loss of all tokens to tell. Without calls that loss decides; of equal
    measurements the earliest is the best.

    A measurement can become the best while a lower perplexity may still exclude all better ones.
    """
    measured = [
        (step.development_perplexity, loss if step.call_loss is None else step.call_loss, step)
        for step in history
        if step.development_perplexity is not None and (loss := step.development_loss) is not None
    ]
    lowest = min((perplexity for perplexity, *_ in measured), default=math.inf)
    found: list[StepReport] = []
    lowest_found = math.inf
    for perplexity, _, step in sorted(measured, key=lambda each: (each[1], each[2].step)):
        if perplexity < lowest_found and not rises(lowest, perplexity):
            found.append(step)
            lowest_found = perplexity
    return found


@dataclass(slots=True)
class Progress:
    """What is known of a run besides weights and optimiser.

    Attributes:
        base: what was measured before the first step.
        seconds: time spent so far, interrupted runs included.
        trial: newest measurement while the run was the trial of a learning rate. The one after the
            last step of the trial is not part of the history unless it was due there anyway.
    """

    base: DevelopmentLoss
    seconds: float = 0.0
    trial: DevelopmentLoss | None = None
    history: list[StepReport] = field(default_factory=list)

    @property
    def step(self) -> int:
        """Number of steps done."""
        return self.history[-1].step if self.history else 0

    @property
    def tokens(self) -> int:
        """Tokens trained on so far."""
        return self.history[-1].tokens if self.history else 0

    @property
    def candidates(self) -> list[int]:
        """Steps whose checkpoints may be the best at the end, the best so far first."""
        return [each.step for each in candidates(self.history)]

    @property
    def best(self) -> StepReport:
        """The best checkpoint; the last step of a run is always measured."""
        return candidates(self.history)[0]

    def is_over(self, steps: int) -> bool:
        """Return whether no step is left, or the last three measurements were no better.

        A measurement is better if it was the best when it was made.
        """
        measured = [each for each in self.history if each.development_loss is not None]
        newest = range(len(measured), 0, -1)[:_PATIENCE]
        return self.step >= steps or (
            len(newest) == _PATIENCE
            and all(candidates(measured[:count])[0] != measured[count - 1] for count in newest)
        )


class TrainingState:
    """The folder of one run; what another run left in it is removed first.

    Where several processes train, each of them has one of these, and all call what saves or
    restores.

    Args:
        folder: made when missing; only what this class writes is ever removed from it.
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
        try:
            progress = read_entries(newest / _PROGRESS_FILE, Progress)
        except (OSError, ValueError) as error:
            raise self._damaged(newest, error) from error
        self._saved_candidates = progress.candidates
        return progress

    def restore(self, weights: "Mapping[str, torch.Tensor]", optimizer: "Optimizer") -> None:
        """Put weights and optimiser moments of the newest state in place.

        Args:
            weights: those that are trained, by name; they are overwritten. However many processes
                share them here, and shared them when the state was saved.
            optimizer: has moments of all of them already, which are overwritten too.

        Raises:
            CheckpointError: there is no state, or it is damaged or belongs to another model.
        """
        newest = self._newest_state()
        if newest is None:
            raise CheckpointError(f"There is no saved training state in {str(self._folder)!r}.")
        try:
            load_tensors(_tensors(weights, optimizer), newest, self._group)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise self._damaged(newest, error) from error
        for moments in optimizer.state.values():
            moments["step"].fill_(_step_of(newest))

    def save(
        self, weights: "Mapping[str, torch.Tensor]", optimizer: "Optimizer", progress: Progress
    ) -> None:
        """Save everything that a later run needs to go on after `progress.step`.

        Args:
            weights: those that are trained, by name; none behind the last step.
            optimizer: has moments of all of them.

        Raises:
            TrainingError: the disk is full or cannot be written.
        """
        target = self._folder / f"state-{progress.step:08d}"
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

    def _newest_state(self) -> Path | None:
        return max(self._folder.glob("state-*"), default=None)

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
            "the float32 weights on disk, once more for each of training.evaluations, and four "
            "times more for each learning rate that `auto` tries. Free space or choose another "
            "folder and run again; a run that has saved its state goes on from there."
        ) from error


def _step_of(state: Path) -> int:
    return int(state.name.removeprefix("state-"))


def _tensors(
    weights: "Mapping[str, torch.Tensor]", optimizer: "Optimizer"
) -> "dict[str, torch.Tensor]":
    """What a state holds: weights and their moments, by name."""
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
