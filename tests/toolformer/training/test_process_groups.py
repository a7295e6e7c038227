"""Two processes that train together give what one gives."""

import json
import re
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed, multiprocessing

from tests.toolformer.training.group_session import Entry, train_all
from tests.toolformer.training.tiny import training_job
from toolformer.training.process_group import ProcessGroup
from toolformer.training.progress import StepReport
from toolformer.training.trainer import Trainer
from toolformer.training.training_job import TrainingJob
from toolformer.training.training_state import TrainingState, load_tensors

pytestmark = pytest.mark.slow

# Three rows for two processes, and few enough tokens at once that one of them feeds more often.
# The one evaluation is at the end, so that the best weights are the last ones.
CHANGES = {
    # Adam makes steps of this size out of gradients as small as rounding.
    "learning_rate": 1e-3,
    # Clipped gradients would be alike where they are not.
    "clip_norm": 1e9,
    "batch_size": 3,
    "micro_batch_tokens": 12,
    "steps": 7,
    "save_every": 3,
    "evaluations": 1,
    "processes": 2,
}
VARIANTS = {
    "plain": {},
    "checkpointed": {"gradient_checkpointing": True, "clip_norm": 1.0},
    "bfloat16": {"precision": "bfloat16"},
    # Matrices of a single row: one of the processes has none of it.
    "lora": {"lora_rank": 1},
    "diverging": {"learning_rate": 1e30},
}
HAS_PEFT = find_spec("peft") is not None


class Session:
    """Jobs, what is to happen to them, and what did."""

    def __init__(self, folder: Path, base: Path):
        self.folder = folder
        self._base = base
        self._plan: list[Entry] = []

    def job(self, name: str, variant: str) -> TrainingJob:
        """A job with a state folder of its own."""
        folder = self.folder / f"{name}-state"
        return training_job(self._base, folder, fingerprint=variant, **CHANGES | VARIANTS[variant])

    def plan(self, name: str, variant: str, *, state_of: str = "", **events):
        """Let two processes train a job, or go on with the one of another entry."""
        self._plan.append(Entry(name, self.job(state_of or name, variant), **events))

    def run(self) -> None:
        """Do all that is planned, in two processes."""
        (self.folder / "kept").mkdir()
        store = distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
        multiprocessing.spawn(train_all, (self.folder, self._plan, store.port), nprocs=2)

    def result(self, name: str, key: str) -> Any:
        """What came of an entry, the same in both processes."""
        files = (self.folder / f"results-{rank}.json" for rank in range(2))
        first, second = (json.loads(file.read_text())[name][key] for file in files)
        assert first == second
        return first

    def steps(self, name: str) -> list[StepReport]:
        return [StepReport(**step) for step in self.result(name, "steps")]

    def error(self, name: str) -> str:
        return self.result(name, "error")

    def weights(self, name: str) -> dict:
        """The best weights of the entry whose state lies under a name."""
        (file,) = (self.folder / f"{name}-state").glob("checkpoint-*/*.safetensors")
        return load_file(file)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, base):
    """What one process makes of each variant: reports and weights."""
    session = Session(tmp_path_factory.mktemp("alone"), base)
    variants = ["plain", "checkpointed", "bfloat16", *(["lora"] if HAS_PEFT else [])]
    return {
        variant: (train_alone(session.job(variant, variant)), session.weights(variant))
        for variant in variants
    }


def moments(state: Path) -> dict:
    """The first moments of Adam in a state: means of gradients."""
    shapes = {}
    for file in state.glob("*.safetensors"):
        for name, tensor in load_file(file).items():
            # Parts of a tensor lie in several files, cut along the first dimension.
            rows, *others = tensor.shape
            if name.startswith("exp_avg."):
                shapes[name] = [shapes.get(name, [0])[0] + rows, *others]
    whole = {name: torch.empty(shape) for name, shape in shapes.items()}
    load_tensors(whole, state, ProcessGroup())
    return whole


def train_alone(job: TrainingJob, stops_at: int | None = None) -> list[StepReport]:
    reports: list[StepReport] = []

    def report(step: StepReport) -> None:
        reports.append(step)
        if step.step == stops_at:
            raise KeyboardInterrupt

    with torch.random.fork_rng():
        state = TrainingState(job.state_folder, fingerprint=job.fingerprint)
        Trainer(job).run(state, report)
    return reports


@pytest.fixture(scope="module")
def session(tmp_path_factory, base):
    """All that these tests look at, done by two processes that are started once."""
    session = Session(tmp_path_factory.mktemp("group"), base)
    for variant in ("plain", "checkpointed", "bfloat16"):
        session.plan(variant, variant)
    session.plan("plain-stopped", "plain", stops_at=4)
    session.plan("stopped", "checkpointed", stops_at=5)
    session.plan("resumed", "checkpointed", state_of="stopped")
    with pytest.raises(KeyboardInterrupt):
        train_alone(session.job("grown-alone", "plain"), stops_at=5)
    session.plan("grown", "plain", state_of="grown-alone")
    # The state behind step 3 is there; that behind step 6 cannot be written.
    session.plan("full", "checkpointed", disk_full_from=4)
    session.plan("freed", "checkpointed", state_of="full")
    session.plan("diverging", "diverging")
    if HAS_PEFT:
        session.plan("lora-stopped", "lora", stops_at=5)
        session.plan("lora", "lora", state_of="lora-stopped")
    session.run()
    return session


def assert_like(reports, weights, expected) -> None:
    """Losses within 1e-6 and weights within 1e-5."""
    expected_reports, expected_weights = expected
    assert [report.step for report in reports] == [report.step for report in expected_reports]
    assert [report.tokens for report in reports] == [report.tokens for report in expected_reports]
    losses = [report.loss for report in expected_reports]
    assert [report.loss for report in reports] == pytest.approx(losses, rel=1e-6)
    assert reports[-1].development_perplexity == pytest.approx(
        expected_reports[-1].development_perplexity, rel=1e-5
    )
    assert weights.keys() == expected_weights.keys()
    for name, weight in weights.items():
        assert weight.dtype == torch.float32
        torch.testing.assert_close(weight, expected_weights[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "state", "variant"),
    [
        ("plain", "plain", "plain"),
        ("checkpointed", "checkpointed", "checkpointed"),
        pytest.param("grown", "grown-alone", "plain", id="from the state of one"),
        pytest.param(
            *("lora", "lora-stopped", "lora"),
            id="adapters, stopped and gone on with",
            marks=pytest.mark.skipif(not HAS_PEFT, reason="needs the package peft"),
        ),
    ],
)
def test_two_processes_give_the_losses_and_weights_of_one(session, alone, name, state, variant):
    assert_like(session.steps(name), session.weights(state), alone[variant])


def test_two_processes_compute_in_bfloat16_as_one_does(session, alone):
    losses = [report.loss for report in alone["bfloat16"][0]]
    assert [report.loss for report in session.steps("bfloat16")] == pytest.approx(losses, rel=1e-2)
    exact = [report.loss for report in alone["plain"][0]]
    assert losses != pytest.approx(exact, rel=1e-6)
    assert {weight.dtype for weight in session.weights("bfloat16").values()} == {torch.float32}


def test_a_resumed_run_gives_the_numbers_of_an_undisturbed_one(session):
    assert session.error("stopped").startswith("StopError")
    assert session.steps("resumed") == session.steps("checkpointed")
    resumed = session.weights("stopped")
    undisturbed = session.weights("checkpointed")
    assert all(torch.equal(resumed[name], undisturbed[name]) for name in undisturbed)


def test_one_process_goes_on_from_the_state_of_two(session, alone, tmp_path):
    folder = tmp_path / "left-state"
    shutil.copytree(session.folder / "kept" / "plain-stopped", folder)
    reports = train_alone(replace(session.job("left", "plain"), state_folder=folder))
    # Steps 1 to 3 were done by two: they are only told.
    assert reports[:3] == session.steps("plain-stopped")[:3]
    (file,) = folder.glob("checkpoint-*/*.safetensors")
    assert_like(reports, load_file(file), alone["plain"])


@pytest.mark.parametrize(
    ("stopped", "variant"), [("plain-stopped", "plain"), ("stopped", "checkpointed")]
)
def test_gradients_are_as_large_as_those_of_one_process(session, tmp_path, stopped, variant):
    # Adam does not feel a wrong scale: weights alone would not show it.
    job = replace(session.job("alone", variant), state_folder=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train_alone(job, stops_at=4)
    expected = moments(tmp_path / "state-00000003")
    (state,) = (session.folder / "kept" / stopped).glob("state-*")
    of_two = moments(state)
    assert of_two.keys() == expected.keys()
    for name, moment in of_two.items():
        torch.testing.assert_close(moment, expected[name], atol=1e-6, rtol=1e-4)


def test_a_disk_that_is_full_for_one_of_them_leaves_the_last_good_state(session):
    error = session.error("full")
    assert "state-00000006' cannot be written" in error
    assert "No space left" in error
    assert session.steps("freed") == session.steps("checkpointed")
    # Half a state would fill the disk until the next run.
    assert not list((session.folder / "full-state").glob(".*.tmp"))


def test_a_loss_that_is_no_number_ends_both(session):
    assert re.search(r"at step \d+ is nan", session.error("diverging"))
