"""The state of a finetuning run on disk: a killed run goes on, the best checkpoint is kept.

Weights and optimiser moments lie in safetensors files, everything else in JSON, so reading a state
never runs code. A state or checkpoint appears whole, by rename, with the digests of its files: one
that was altered is not gone on with. Does not train.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.errors import CheckpointError, TrainingError
from toolformer.ground.digests import hex_digest_of_file
from toolformer.ground.whole_files import flush, write_whole

if TYPE_CHECKING:
    import torch
    from torch.optim import Optimizer
    from transformers import PreTrainedModel

_FINGERPRINT_FILE = "fingerprint"
_PROGRESS_FILE = "progress.json"
_DIGESTS_FILE = "digests"
_WEIGHTS_FILE = "weights.safetensors"
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

    What another run left in the folder is of no use and is removed first.

    Args:
        folder: made when missing; only what this class writes is ever removed from it.
        fingerprint: of everything that the numbers of the run follow from.

    Raises:
        TrainingError: the folder cannot be written.
    """

    def __init__(self, folder: Path, *, fingerprint: str):
        self._folder = folder
        self._fingerprint = fingerprint
        self._saved_best: int | None = None
        marker = folder / _FINGERPRINT_FILE
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in (f"{_FINGERPRINT_FILE}.*.tmp", ".state-*.tmp", ".best-*.tmp"):
                _remove(folder.glob(leftover))
            if not marker.exists() or marker.read_bytes() != fingerprint.encode():
                self.clear()
                write_whole(marker, fingerprint)

    def load_progress(self) -> Progress | None:
        """The progress of the newest saved state, None where there is none.

        Raises:
            CheckpointError: the state is damaged.
        """
        newest = self._newest_state()
        if newest is None:
            return None
        self._check(newest)
        with self._reading(newest):
            stored = json.loads((newest / _PROGRESS_FILE).read_text())
            stored["history"] = [StepReport(**row) for row in stored["history"]]
            progress = Progress(**stored)
        if progress.best_step is not None:
            best = self.best_folder(progress.best_step)
            if not best.is_dir():
                raise self._damaged(newest, f"its best checkpoint {progress.best_step} is missing")
            self._check(best)
        self._saved_best = progress.best_step
        return progress

    def restore(self, model: "PreTrainedModel", optimizer: "Optimizer") -> None:
        """Put weights and optimiser moments of the newest state in place.

        Args:
            model: the base model; its weights are overwritten.
            optimizer: a fresh one with the model's parameters, in their order, as its one group.

        Raises:
            CheckpointError: the state is damaged or belongs to another model.
        """
        import torch
        from safetensors import safe_open

        newest = self._newest_state()
        if newest is None:
            raise CheckpointError(f"There is no saved training state in {str(self._folder)!r}.")
        parameters = dict(model.named_parameters())
        state: dict[int, dict[str, torch.Tensor]] = {}
        with self._reading(newest):
            steps = torch.tensor(float(int(newest.name.removeprefix("state-"))))
            with safe_open(newest / _WEIGHTS_FILE, framework="pt") as file, torch.no_grad():
                for name, parameter in parameters.items():
                    parameter.copy_(file.get_tensor(name))
            for moment in _MOMENTS:
                with safe_open(newest / f"{moment}.safetensors", framework="pt") as file:
                    stored = set(file.keys())
                    for index, name in enumerate(parameters):
                        if name in stored:
                            of_parameter = state.setdefault(index, {"step": steps.clone()})
                            of_parameter[moment] = file.get_tensor(name)
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})

    def save(self, model: "PreTrainedModel", optimizer: "Optimizer", progress: Progress) -> None:
        """Save everything that a later run needs to go on after `progress.step`.

        Raises:
            TrainingError: the disk is full or cannot be written.
        """
        parameters = dict(model.named_parameters())

        def write(folder: Path) -> None:
            # One file at a time: some releases of safetensors hold a copy of what they write.
            _save_tensors(parameters, folder / _WEIGHTS_FILE)
            for moment in _MOMENTS:
                moments = {
                    name: optimizer.state[parameter][moment]
                    for name, parameter in parameters.items()
                    if moment in optimizer.state[parameter]
                }
                _save_tensors(moments, folder / f"{moment}.safetensors")
            _write_progress(folder, progress)

        self._save_state(progress, write)

    def save_finished(self, progress: Progress) -> None:
        """Save the progress of a run that has no step left, which needs no weights to go on."""
        self._save_state(progress, lambda folder: _write_progress(folder, progress))

    def save_best(self, model: "PreTrainedModel", step: int) -> None:
        """Save the weights after `step` as the best so far.

        The one that the newest saved state speaks of stays until the next state is saved: a killed
        run goes back to that state.

        Raises:
            TrainingError: the disk is full or cannot be written.
        """
        self._write_sealed(self.best_folder(step), model.save_pretrained)
        self._remove_best_except({step, self._saved_best})

    def copy_best(self, step: int, target: Path) -> None:
        """Copy the checkpoint of `step`, the best one, into a folder.

        Raises:
            CheckpointError: it is damaged.
        """
        best = self.best_folder(step)
        self._check(best)
        without_digests = shutil.ignore_patterns(_DIGESTS_FILE)
        shutil.copytree(best, target, dirs_exist_ok=True, ignore=without_digests)

    def best_folder(self, step: int) -> Path:
        """Where the checkpoint of `step` lies while it is the best."""
        return self._folder / f"best-{step:08d}"

    def clear(self) -> None:
        """Remove everything that this class wrote."""
        (self._folder / _FINGERPRINT_FILE).unlink(missing_ok=True)
        _remove(self._folder.glob("state-*"))
        _remove(self._folder.glob("best-*"))

    def _save_state(self, progress: Progress, write: Callable[[Path], object]) -> None:
        target = self._folder / f"state-{progress.step:08d}"
        self._write_sealed(target, write)
        _remove(each for each in self._folder.glob("state-*") if each != target)
        self._saved_best = progress.best_step
        self._remove_best_except({progress.best_step})

    def _write_sealed(self, target: Path, write: Callable[[Path], object]) -> None:
        def write_and_seal(folder: Path) -> None:
            write(folder)
            (folder / _DIGESTS_FILE).write_text(self._digests(folder, target.name))

        write_folder_whole(target, write_and_seal)

    def _digests(self, folder: Path, name: str) -> str:
        files = sorted(each for each in folder.iterdir() if each.name != _DIGESTS_FILE)
        digests = {each.name: hex_digest_of_file(each) for each in files}
        return json.dumps({"of": [self._fingerprint, name], "files": digests})

    def _check(self, folder: Path) -> None:
        """Raise unless the files are those that were written; earlier releases wrote no digests."""
        with self._reading(folder):
            file = folder / _DIGESTS_FILE
            is_whole = (
                not file.exists()
                or file.read_bytes() == self._digests(folder, folder.name).encode()
            )
        if not is_whole:
            raise self._damaged(folder, "its files were altered after they were written")

    def _remove_best_except(self, steps: set[int | None]) -> None:
        kept = {self.best_folder(step) for step in steps if step is not None}
        _remove(each for each in self._folder.glob("best-*") if each not in kept)

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


def write_folder_whole(target: Path, write: Callable[[Path], object]) -> None:
    """Let a folder appear whole, by rename; one that is there is replaced.

    Args:
        target: the folder.
        write: fills the temporary folder that it is given.

    Raises:
        TrainingError: the disk is full or cannot be written.
    """
    temporary = target.parent / f".{target.name}.tmp"
    outgoing = target.parent / f".{target.name}.old.tmp"
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove([temporary, outgoing])
        temporary.mkdir()
        try:
            write(temporary)
            for path in (*temporary.iterdir(), temporary):
                flush(path)
        except BaseException:
            # On a full disk half a model would take what is left.
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        if target.exists():
            target.rename(outgoing)
        temporary.rename(target)
        flush(target.parent)
        _remove([outgoing])


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn failures to write below `path` into an error that says what to do."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{str(path)!r} cannot be written: {error}. Training needs about six times the size of "
            "the float32 weights on disk. Free space or choose another folder and run again; a "
            "run that has saved its state goes on from there."
        ) from error


def _save_tensors(tensors: "Mapping[str, torch.Tensor]", file: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, file)


def _write_progress(folder: Path, progress: Progress) -> None:
    (folder / _PROGRESS_FILE).write_text(json.dumps(asdict(progress)))


def _remove(paths: Iterable[Path]) -> None:
    for path in list(paths):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
