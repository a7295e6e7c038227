"""Shows a training in TensorBoard, MLflow or W&B while it runs, through accelerate's trackers.

Addresses and keys come from the environment variables that these have.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from toolformer.home.home import Home
from toolformer.home.settings.errors import SettingsError
from toolformer.training.finetuning import StepReport

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

_PROJECT = "toolformer"


def check_trackers(names: Sequence[str]) -> None:
    """Tell before a training what a tracker lacks.

    Raises:
        SettingsError: a package is not installed, or W&B has no key and would ask for one.
    """
    from accelerate.tracking import get_available_trackers

    for name in sorted(set(names).difference(map(str, get_available_trackers()))):
        raise SettingsError(
            f"training.report_to names {name}, whose package is not installed. Run `pip install "
            f"-c requirements.lock {name}` in the clone, or take it out of the list."
        )
    if "wandb" in names and not os.environ.keys() & {"WANDB_API_KEY", "WANDB_MODE"}:
        raise SettingsError(
            "training.report_to names wandb, and neither WANDB_API_KEY nor WANDB_MODE is in the "
            "environment. Set the key, or WANDB_MODE=offline, or take wandb out of the list."
        )


@contextmanager
def tracked(
    names: Sequence[str], run: str, home: Home, log: logging.Logger
) -> Iterator[Callable[[StepReport], None]]:
    """Trackers of a training, open while the block runs.

    One that fails is left out with a warning, and the training goes on.

    Args:
        names: of `training.report_to`.
        run: name of the run. TensorBoard and W&B go on with the curve of this name after a kill;
            MLflow begins another of the same name.

    Returns:
        What logs a step, also one that was logged before the kill.
    """
    trackers: dict[str, GeneralTracker] = {}

    @contextmanager
    def left_out_if_it_fails(name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001
            trackers.pop(name, None)
            log.warning(
                f"The training goes on without {name}, which failed ({error}). Its curve will be "
                "in the table training_metrics."
            )

    def report(step: StepReport) -> None:
        values = {name: value for name, value in asdict(step).items() if value is not None}
        number = values.pop("step")
        for name, tracker in list(trackers.items()):
            with left_out_if_it_fails(name):
                tracker.log(values, step=number)

    for name in dict.fromkeys(names):
        with left_out_if_it_fails(name):
            trackers[name] = _started(name, run, home)
    try:
        yield report
    finally:
        for name, tracker in list(trackers.items()):
            with left_out_if_it_fails(name):
                tracker.finish()


def _started(name: str, run: str, home: Home) -> "GeneralTracker":
    from accelerate import PartialState
    from accelerate.tracking import MLflowTracker, TensorBoardTracker, WandBTracker
    from accelerate.utils import patch_environment

    # The trackers ask this state, which under torchrun would make the process join a group.
    with patch_environment(LOCAL_RANK=-1):
        PartialState()
    if name == "tensorboard":
        # All steps are logged again: they take the place of the earlier ones.
        tracker = TensorBoardTracker(run, home.tensorboard, purge_step=0)
    elif name == "wandb":
        # W&B passes over the steps that it has.
        tracker = WandBTracker(_PROJECT, name=run, id=run, resume="allow", dir=str(home.root))
    else:
        tracker = MLflowTracker(_PROJECT, run_name=run)
    tracker.start()
    return tracker
