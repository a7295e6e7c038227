"""Which learning rate is chosen, and that its trial is the beginning of the training."""

import json
import math
from itertools import pairwise

import pytest

from tests.toolformer.training.tiny import row, training_job, weights
from toolformer.errors import DivergedError, TrainingError
from toolformer.training import learning_rates, training_processes
from toolformer.training.finetuning import finetune
from toolformer.training.learning_rates import RATES, train_at_chosen_rate
from toolformer.training.progress import DevelopmentLoss, Progress

STEPS = {"steps": 20, "batch_size": 2, "evaluations": 5}
# Words that the development texts lack: the larger the rate, the less likely are the others.
OTHERS = [row([5], [30, 31, 32], [33], [34]), row([35], [36], [37])]
# The second keeps nearly all language, the first does not.
RISING = (1e-1, 1e-3, 1e-4, 1e-5)


@pytest.fixture
def job(base, tmp_path):
    def job(name="rates", **changes):
        return training_job(base, tmp_path / f"{name}-state", rows=OTHERS, **STEPS | changes)

    return job


@pytest.fixture
def steps_fed(monkeypatch):
    fed, step = [], training_processes.Trainer._step

    def counted(trainer, number):
        fed.append(number)
        return step(trainer, number)

    monkeypatch.setattr(training_processes.Trainer, "_step", counted)
    return fed


def choose(job, rates, told=lambda _: None):
    """The choice; what is told are the steps of the trials."""
    return train_at_chosen_rate(job, rates, lambda _: None, lambda _: told)[0]


@pytest.mark.parametrize(
    ("perplexities", "number", "tried"),
    [
        pytest.param([20.9], 0, 1, id="as good as the base model"),
        pytest.param([27.0, 26.0, 20.2], 2, 3, id="a much smaller one is"),
        pytest.param([21.8, 20.9], 1, 2, id="near one that is"),
        pytest.param([27.0, 25.9, 25.0, 24.9], 1, 4, id="none is, within 5 % of the lowest"),
        pytest.param([1050.0, 1010.0, 24.0, 20.5], 3, 4, id="large ones diverge"),
        pytest.param([1050.0, math.nan, 24.0, 23.5], 2, 4, id="one is not finite"),
    ],
)
def test_the_largest_rate_wins_that_costs_no_language_else_the_largest_near_the_lowest(
    job, monkeypatch, perplexities, number, tried
):
    script_trials(monkeypatch, perplexities)
    chosen = choose(job(), RATES)
    assert chosen.job.learning_rate == RATES[number]
    assert [trial.learning_rate for trial in chosen.trials] == list(RATES[:tried])


def test_all_rates_are_tried_before_divergence_is_reported(job, monkeypatch):
    script_trials(monkeypatch, [1050.0, 1010.0, math.nan, 30.0])
    with pytest.raises(TrainingError, match="every learning rate") as raised:
        choose(job(), RATES)
    assert "1e-04: 6.957; 3e-05: 6.918; 1e-05: not finite; 3e-06: 3.401 (base model: 2.996)" in str(
        raised.value
    )


def script_trials(monkeypatch, perplexities):
    """Let trials of the rates give these perplexities; that of the base model is 20."""
    base, left = DevelopmentLoss(math.log(20), math.log(20)), iter(perplexities)

    def train_job(job, _):
        # Where all trials have failed, the chosen rate is trained at without one.
        loss = math.log(20 if job.trial_steps is None else next(left))
        if math.isnan(loss):
            raise DivergedError("not finite")
        # At perplexities up to 27 the calls are learnt.
        with_calls = loss if loss > 3.4 else 2.0
        trial = None if job.trial_steps is None else DevelopmentLoss(with_calls, loss)
        return Progress(base=base, trial=trial)

    monkeypatch.setattr(learning_rates, "train_job", train_job)


def test_a_rate_that_costs_five_percent_more_perplexity_than_the_base_model_is_passed_over(job):
    chosen = choose(job(), RISING)
    first, second = chosen.trials
    assert first.perplexity > 1.05 * chosen.base.perplexity >= second.perplexity
    assert chosen.job.learning_rate == second.learning_rate == 1e-3
    assert chosen.summary == (
        "learning rate 1e-03, by the perplexity of the development texts without calls after 4 "
        f"steps: 1e-01: {first.perplexity:.2f}; 1e-03: {second.perplexity:.2f}; base model: "
        f"{chosen.base.perplexity:.2f}"
    )


@pytest.mark.parametrize(("steps", "of_trial"), [(3, 3), (15, 4), (40, 8), (41, 9)])
def test_a_trial_has_a_fifth_of_the_steps_and_at_least_four(job, steps_fed, steps, of_trial):
    told = []
    chosen = choose(job(steps=steps, evaluations=1), (1e-5, 1e-6), told.append)
    assert chosen.steps == of_trial
    assert steps_fed == list(range(1, steps + 1))
    assert [step.step for step in told] == steps_fed[:of_trial]


@pytest.mark.parametrize("evaluations", [5, 2])
def test_the_training_goes_on_from_its_trial_and_is_that_of_the_rate_alone(
    job, run, steps_fed, tmp_path, evaluations
):
    said = []
    finetune(
        job("chosen", evaluations=evaluations),
        tmp_path / "chosen",
        rates=RISING,
        facts={},
        report=lambda _: None,
        report_rate=said.append,
    )
    assert steps_fed == [*2 * [1, 2, 3, 4], *range(5, 21)]
    assert [chosen.job.learning_rate for chosen in said] == [1e-3]
    run("alone", rows=OTHERS, learning_rate=1e-3, **STEPS | {"evaluations": evaluations})
    # The measurement at the trial's end does not count unless it was due.
    chosen, alone = (
        json.loads((tmp_path / name / "toolformer.json").read_text())
        for name in ("chosen", "alone")
    )
    assert (chosen["history"], chosen["result"]) == (alone["history"], alone["result"])
    found, alone = weights(tmp_path / "chosen"), weights(tmp_path / "alone")
    assert all((found[name] == alone[name]).all() for name in alone)
    # Of no rate anything is left.
    assert not [path for path in (tmp_path / "chosen-state").rglob("*") if path.is_file()]


def test_killed_trials_go_on_and_load_no_model_for_those_that_failed(job, steps_fed, monkeypatch):
    undisturbed, told = [], []
    expected = choose(job("undisturbed"), RISING, undisturbed.append)
    steps_fed.clear()

    def kill(report):
        if len(steps_fed) == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        choose(job("killed", save_every=1), RISING, kill)
    loaded, load = [], training_processes.Trainer

    def counted(job):
        loaded.append(job.learning_rate)
        return load(job)

    monkeypatch.setattr(training_processes, "Trainer", counted)
    steps_fed.clear()
    resumed = choose(job("killed", save_every=1), RISING, told.append)
    assert steps_fed == list(range(4, 21))
    assert loaded == [1e-3]
    assert told == undisturbed
    assert resumed.trials == expected.trials


def test_a_trial_that_fails_leaves_no_weights(job):
    choose(job("failed", save_every=1), RISING)
    first = job("failed").state_folder / "1e-01"
    assert {path.name for path in first.rglob("*") if path.is_file()} == {
        "fingerprint",
        "progress.json",
    }


def test_where_every_trial_fails_the_model_is_trained_anew_at_the_chosen_rate(
    job, steps_fed, run, tmp_path, monkeypatch
):
    said, measure = [], training_processes.Trainer._development_loss

    def measured(trainer, step):
        if step == trainer._job.trial_steps:
            # The base model has a perplexity of 1207, and a development loss of 6.95.
            return DevelopmentLoss(6.0, math.log(1300))
        return measure(trainer, step)

    monkeypatch.setattr(training_processes.Trainer, "_development_loss", measured)
    finetune(
        job("chosen"),
        tmp_path / "chosen",
        rates=(1e-3, 1e-4),
        facts={},
        report=lambda _: None,
        report_rate=said.append,
    )
    assert steps_fed == [*2 * [1, 2, 3, 4], *range(1, len(steps_fed) - 7)]
    assert said[0].job.learning_rate == 1e-3
    run("alone", rows=OTHERS, learning_rate=1e-3, **STEPS)
    found, alone = weights(tmp_path / "chosen"), weights(tmp_path / "alone")
    assert all((found[name] == alone[name]).all() for name in alone)
    assert not [path for path in (tmp_path / "chosen-state").rglob("*") if path.is_file()]


def test_a_training_that_was_killed_behind_its_trial_chooses_as_before(job, steps_fed, tmp_path):
    said, told = [], []

    def train(report):
        finetune(
            job("killed", save_every=1),
            tmp_path / "killed",
            rates=RISING,
            facts={},
            report=report,
            report_trial=lambda rate: lambda step: told.append((rate, step)),
            report_rate=said.append,
        )

    def kill(report):
        if report.step == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(kill)
    steps_fed.clear()
    trial_steps = list(told)
    told.clear()
    train(lambda _: None)
    assert steps_fed == list(range(10, 21))
    assert told == trial_steps
    assert said[0].trials == choose(job("undisturbed"), RISING).trials


def test_a_rate_that_diverges_is_passed_over_and_where_all_do_there_is_none(job):
    chosen = choose(job(), (1e30, 1e-5, 1e-6))
    assert chosen.job.learning_rate == 1e-5
    assert "1e+30: not finite; 1e-05: " in chosen.summary
    with pytest.raises(TrainingError, match=r"every learning rate.*1e\+31: not finite; 1e\+30"):
        choose(job("none"), (1e31, 1e30))


def test_losses_that_only_rise_are_no_model(job):
    with pytest.raises(TrainingError, match=r"2e\+00: \d.*\(base model: \d") as raised:
        choose(job(), (2.0, 1.9))
    assert "No model was stored." in str(raised.value)


def test_rates_fall_by_about_a_third():
    assert all(2.9 < large / small < 3.5 for large, small in pairwise(RATES))
