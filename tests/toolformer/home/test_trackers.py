"""Trackers of a training: real TensorBoard files, and trackers that fail or remember."""

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import MagicMock

import pytest
from accelerate import PartialState, tracking
from torch import distributed

from toolformer.home.home import Home
from toolformer.home.settings.errors import SettingsError
from toolformer.home.wiring.trackers import check_trackers, tracked
from toolformer.training.finetuning import StepReport

RUN = "finetuning-0123456789ab"
LOG = logging.getLogger("training")
STEPS = [
    StepReport(1, 2.0, 1e-5, 100, None),
    StepReport(2, 1.5, 2e-5, 200, 9.0),
    StepReport(3, 1.25, 2e-5, 300, None),
]


class Fake(tracking.GeneralTracker):
    """In the place of W&B's: keeps what it is told, and fails where it is told to."""

    name = "wandb"
    requires_logging_directory = False
    told: ClassVar[list[Any]]
    fails_in: ClassVar[tuple[str, ...]]

    def __init__(self, project: str, **options: Any):
        self._tell("made", project, options)

    @property
    def tracker(self) -> None:
        return None

    def start(self) -> None:
        self._tell("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        raise AssertionError("the settings stand in toolformer.json beside the model")

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        self._tell("log", step, values)

    def finish(self) -> None:
        self._tell("finish")

    def _tell(self, *event: Any) -> None:
        self.told.append(event)
        if event[0] in self.fails_in:
            raise ConnectionError("no network")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    class Mine(Fake):
        told: ClassVar[list[Any]] = []
        fails_in: ClassVar[tuple[str, ...]] = ()

    monkeypatch.setattr(tracking, "WandBTracker", Mine)
    return Mine


def train(home: Path, *trackers: str, steps: Iterable[StepReport] = STEPS) -> None:
    with tracked(trackers, RUN, Home(home), LOG) as report:
        for step in steps:
            report(step)


def test_a_tracker_is_told_the_run_and_every_step_by_its_number(tmp_path: Path, fake: type[Fake]):
    train(tmp_path, "wandb", "wandb")
    (_, project, options), start, *logs, finish = fake.told
    assert (project, options["name"], options["id"]) == ("toolformer", RUN, RUN)
    assert (start, finish) == (("start",), ("finish",))
    assert [step for _, step, _ in logs] == [1, 2, 3]
    assert logs[0][2] == {"loss": 2.0, "learning_rate": 1e-5, "tokens": 100}
    assert logs[1][2]["development_perplexity"] == 9.0


@pytest.mark.parametrize(("stage", "logged"), [("made", 0), ("start", 0), ("log", 1)])
def test_a_tracker_that_fails_is_warned_of_once_and_not_asked_again(
    tmp_path: Path,
    fake: type[Fake],
    caplog: pytest.LogCaptureFixture,
    stage: str,
    logged: int,
):
    fake.fails_in = (stage,)
    train(tmp_path, "wandb")
    assert sum(event[0] == "log" for event in fake.told) == logged
    (warning,) = [each for each in caplog.records if each.name == LOG.name]
    assert warning.levelno == logging.WARNING
    assert "goes on without wandb, which failed (no network)" in warning.getMessage()


def test_a_tracker_is_closed_when_the_training_fails(tmp_path: Path, fake: type[Fake]):
    def steps() -> Iterator[StepReport]:
        yield STEPS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, "wandb", steps=steps())
    assert fake.told[-1] == ("finish",)


def test_a_run_that_goes_on_is_one_curve_in_tensorboard(tmp_path: Path):
    pytest.importorskip("tensorboard", reason="needs the extra `clients`")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path, "tensorboard", steps=STEPS[:2])
    # From another state on, as after fewer saved steps on another machine.
    again = [STEPS[0], StepReport(2, 1.75, 2e-5, 200, 9.5), STEPS[2]]
    train(tmp_path, "tensorboard", steps=again)
    folder = tmp_path / "tensorboard" / RUN
    curves = EventAccumulator(str(folder)).Reload()

    def points(tag: str) -> list[tuple[int, float]]:
        return [(event.step, event.value) for event in curves.Scalars(tag)]

    assert points("loss") == [(1, 2.0), (2, 1.75), (3, 1.25)]
    assert points("development_perplexity") == [(2, 9.5)]
    assert points("tokens") == [(1, 100), (2, 200), (3, 300)]


def test_mlflow_gets_the_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mlflow = MagicMock()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    train(tmp_path, "mlflow")
    assert mlflow.start_run.call_args.kwargs["run_name"] == RUN
    assert [call.kwargs["step"] for call in mlflow.log_metrics.call_args_list] == [1, 2, 3]


def test_trackers_start_no_group_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: type[Fake]
):
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    PartialState._reset_state()
    train(tmp_path, "wandb")
    assert PartialState().num_processes == 1
    assert not distributed.is_initialized()
    assert os.environ["LOCAL_RANK"] == "0"


def test_a_package_that_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: ["tensorboard"])
    check_trackers(["tensorboard"])
    with pytest.raises(
        SettingsError, match=r"names wandb, .* `pip install -c requirements\.lock wandb`"
    ):
        check_trackers(["tensorboard", "wandb"])


def test_wandb_without_a_key_is_refused_since_it_would_ask(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: ["wandb"])
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(SettingsError, match="neither WANDB_API_KEY nor WANDB_MODE"):
        check_trackers(["wandb"])
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_trackers(["wandb"])
