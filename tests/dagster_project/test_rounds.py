"""`toolformer build --rounds`: which round is built and trained when, and what is told of it."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from assets.training.min_call_probability import MIN_CALL_PROBABILITY
from dagster_project.commands import build
from dagster_project.commands.options import RunOptions
from toolformer.base.model_files import MIN_CALL_PROBABILITY_FILE
from toolformer.decoding.calibration import CalibratedProbability, min_call_probability_text
from toolformer.home.expected_errors import RunFailedError
from toolformer.home.home import Home
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.sections import Settings
from tools.model_identity import model_identity

SCHEDULE = """\
training: {variant: plain}
rounds:
  - {tools: {Calculator: {filtering_threshold: 0.5}}}
  - {sampling: {uses_prompt: false}}
  - {sampling: {annotator: base}}
"""


@dataclass
class Project:
    """A home whose stages are not run.

    Attributes:
        done: what was built, trained and planned, by round.
        trained: the rounds whose model is up to date.
        unbuilt: the rounds of which a build would make something.
        failing: the rounds that keep too few calls.
    """

    home: Home
    done: list[str] = field(default_factory=list)
    trained: set[int] = field(default_factory=set)
    unbuilt: set[int] = field(default_factory=set)
    failing: set[int] = field(default_factory=set)
    options: list[RunOptions] = field(default_factory=list)

    def build_dataset(self, options: RunOptions) -> None:
        self.options.append(options)
        self.done.append(f"build {options.load_settings(self.home).sampling.round}")

    def train_model(self, options: RunOptions, *, is_calibrated: bool) -> None:
        settings = options.load_settings(self.home)
        number = settings.sampling.round
        if number in self.failing:
            raise RunFailedError("The training set has 1 texts; expected at least 32.")
        self.done.append(f"train {settings.training.variant} {number}")
        self.trained.add(number)
        if is_calibrated:
            self.calibrate(number, settings)

    def calibration(self, number: int) -> Path:
        return self.home.finetuned_model(number) / MIN_CALL_PROBABILITY_FILE

    def calibrate(self, number: int, settings: Settings, **parts: object) -> None:
        directory = self.calibration(number).parent
        directory.mkdir(parents=True, exist_ok=True)
        of_model = {"language_model": [model_identity(directory), None]}
        made_from = MIN_CALL_PROBABILITY.fingerprint(settings, of_model)
        made_from = made_from.with_parts(parts).metadata()
        chosen = CalibratedProbability(0.5, 0.5, None, 10, 8, 8, made_from=made_from)
        self.calibration(number).write_text(min_call_probability_text(chosen))

    def is_finetuned(self, workspace: Workspace) -> bool:
        assert workspace.settings.training.variant == "calls"
        return workspace.settings.sampling.round in self.trained

    def show_plan(self, options: RunOptions, _home: Home, _shards: tuple[str, ...]) -> bool:
        number = options.overrides["sampling"]["round"]
        self.done.append(f"plan {number}")
        return number in self.unbuilt


@pytest.fixture
def project(home: Home, monkeypatch) -> Project:
    made = Project(home)
    home.root.mkdir()
    home.settings_file.write_text(SCHEDULE)
    for name in ("build_dataset", "train_model", "is_finetuned", "show_plan"):
        monkeypatch.setattr(build, name, getattr(made, name))
    return made


@pytest.mark.parametrize("left", [None, "{}"], ids=["lost", "damaged"])
def test_the_last_model_without_its_calibration_is_handed_to_training(project: Project, run, left):
    assert run("build", "--rounds", "2")[0] == 0
    # Nothing decodes with the first one.
    assert not project.calibration(1).exists()
    project.done.clear()
    if left is None:
        project.calibration(2).unlink()
    else:
        project.calibration(2).write_text(left)
    out = run("build", "--rounds", "2", "--dry-run")[1]
    assert out.count("would be trained or calibrated") == 1
    assert out.count("Its model is up to date.") == 1
    assert project.done == ["plan 1", "plan 2"]

    project.done.clear()
    assert run("build", "--rounds", "2")[0] == 0
    # It trains nothing that is up to date.
    assert project.done == ["build 1", "build 2", "train calls 2"]


@pytest.mark.parametrize("change", ["settings", "weights", "calls"])
def test_a_calibration_of_another_model_or_settings_or_without_all_calls_is_made_anew(
    project: Project, run, change: str
):
    command = ("build", "--rounds", "2")
    assert run(*command).code == 0
    assert run(*command, "--dry-run").out.count("Its model is up to date.") == 2
    if change == "settings":
        command = (*command, "--set", "decoding.call_top_k=3")
    elif change == "weights":
        (project.home.finetuned_model(2) / "model.safetensors").write_bytes(b"others")
    else:
        settings = RunOptions().in_round(2).load_settings(project.home)
        project.calibrate(2, settings, given_up_calls=1)
    out = run(*command, "--dry-run").out
    assert out.count("would be trained or calibrated") == 1
    project.done.clear()
    assert run(*command).code == 0
    assert project.done == ["build 1", "build 2", "train calls 2"]


def test_a_round_that_keeps_too_few_calls_ends_it_and_is_named(project: Project, run):
    project.failing = {2}
    named = ("Round 2 of 3: The training set has 1 texts", "`--set sampling.round=2`")
    assert run("build", "--rounds", "3").is_one_paragraph_naming(*named)
    assert project.done == ["build 1", "train calls 1", "build 2"]


def test_a_mistake_in_a_later_round_is_told_before_the_first_is_begun(project: Project, run):
    for line, message in (
        ("  - {sampling: {temperatur: 1}}\n", "round 4: There is no setting"),
        ("  - {training: {rounds: [1, 2]}}\n", "round 4: training.rounds is [2, 1]"),
    ):
        project.home.settings_file.write_text(SCHEDULE + line)
        assert run("build", "--rounds", "4").is_one_paragraph_naming(message)
    assert run("build", "--rounds", "5").is_one_paragraph_naming("--rounds 5")
    assert project.done == []


def test_a_dry_run_ends_with_the_first_round_that_is_not_done_and_does_nothing(
    project: Project, run
):
    project.unbuilt = {1, 2, 3}
    code, out, _ = run("build", "--rounds", "3", "--dry-run")
    assert code == 0
    # Who annotates the second round is not known before the first model is trained.
    assert project.done == ["plan 1"]
    assert "Its model would be trained or calibrated." in out

    project.done.clear()
    project.trained, project.unbuilt = {1}, {3}
    out = run("build", "--rounds", "3", "--dry-run")[1]
    assert project.done == ["plan 1", "plan 2"]
    assert out.count("Its model is up to date.") == 1
    assert out.count("Its model would be trained or calibrated.") == 1


def test_flags_hold_in_every_round_and_shards_cannot_be_chosen(project: Project, run):
    # All twice: what is up to date is made again with --force.
    for _ in range(2):
        code, _, err = run("build", "--rounds", "2", "--force", "--set", "training.seed=5")
        assert (code, err) == (0, "")
    # The model of the calls, whichever variant the file names: it annotates the next round.
    assert project.done == ["build 1", "train calls 1", "build 2", "train calls 2"] * 2
    assert {options.force for options in project.options} == {True}
    assert {options.overrides["training"]["seed"] for options in project.options} == {5}
    assert run("build", "--rounds", "2", "--shards", "shard-00000")[0] == 2
