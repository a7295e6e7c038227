"""Shows a training in TensorBoard, MLflow or W&B while it runs, through accelerate's trackers.

Addresses and keys come from the environment variables that these have.
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from toolformer.training.finetuning import StepReport
from toolformer_home.home import Home
from toolformer_home.settings.errors import SettingsError
from toolformer_home.settings.training_sections import TrainingSettings

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

_PROJECT = "toolformer"


def check_trackers(names: Sequence[str]) -> None:
    """Tell before a training that the package of a tracker is missing.

    Raises:
        SettingsError: names the command that installs it.
    """
    from accelerate.tracking import get_available_trackers

    for name in sorted(set(names).difference(map(str, get_available_trackers()))):
        raise SettingsError(
            f"training.report_to names {name}, whose package is not installed. Run `pip install "
            f"-c requirements.lock {name}` in the clone, or take it out of the list."
        )


@contextmanager
def tracked(
    training: TrainingSettings, run: str, home: Home, log: logging.Logger
) -> Iterator[Callable[[StepReport], None]]:
    """The trackers that the settings name, open while the block runs.

    One that fails is left out with a warning, and the training goes on.

    Args:
        run: name of the run; a training that goes on after a kill continues the run of this name.

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

    for name in dict.fromkeys(training.report_to):
        with left_out_if_it_fails(name):
            trackers[name] = _start(name, training, run, home)
    try:
        yield report
    finally:
        for name, tracker in list(trackers.items()):
            with left_out_if_it_fails(name):
                tracker.finish()


def _start(name: str, training: TrainingSettings, run: str, home: Home) -> "GeneralTracker":
    from accelerate import PartialState
    from accelerate.tracking import MLflowTracker, TensorBoardTracker, WandBTracker
    from accelerate.utils import patch_environment

    # The trackers ask this state, which under torchrun would make the process join a group.
    with patch_environment(LOCAL_RANK=-1):
        PartialState()
    is_new = True
    if name == "tensorboard":
        # All steps are logged again: they take the place of the earlier ones.
        tracker = TensorBoardTracker(run, home.tensorboard, purge_step=0)
        is_new = not (home.tensorboard / run).exists()
    elif name == "wandb":
        # W&B passes over the steps that it has.
        tracker = WandBTracker(_PROJECT, name=run, id=run, resume="allow", dir=str(home.root))
    else:
        import mlflow  # pyright: ignore[reportMissingImports]

        tracker = MLflowTracker(_PROJECT, run_name=run)
        earlier = mlflow.search_runs(
            experiment_names=[tracker.experiment_name],
            filter_string=f"attributes.run_name = '{run}'",
            output_format="list",
        )
        if earlier:
            is_new, tracker.run_id = False, earlier[0].info.run_id
    tracker.start()
    # MLflow refuses other values than the first, such as another number of processes.
    if is_new:
        settings = training.model_dump(mode="json").items()
        # Trackers take neither lists nor groups.
        tracker.store_init_configuration(
            {key: json.dumps(v) if isinstance(v, list | dict) else v for key, v in settings}
        )
    return tracker
