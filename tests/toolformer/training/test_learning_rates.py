"""What is tried before a training, and what comes of it."""

import math
from dataclasses import replace

import pytest

from tests.toolformer.training.tiny import DEVELOPMENT, PARAMETERS, ROWS
from toolformer.errors import TrainingError
from toolformer.training import learning_rates, training_processes
from toolformer.training.finetuning import TrainingJob, finetune
from toolformer.training.learning_rates import ChosenRate, best_rate, measured_learning_rate

SETTINGS = replace(PARAMETERS, steps=100, batch_size=2, learning_rate=0.0)
NONE = math.inf


@pytest.fixture
def measure(base, tmp_path):
    def measure(told=lambda *_: None, name="trials", **changes) -> ChosenRate:
        job = TrainingJob(
            base=base,
            rows=ROWS,
            development=DEVELOPMENT,
            parameters=replace(SETTINGS, **changes),
            bos_token=None,
            state_folder=tmp_path / name,
            fingerprint="f",
            device="cpu",
        )
        return measured_learning_rate(job, report=told)

    return measure


@pytest.mark.parametrize(
    ("losses", "best", "tried"),
    [
        ((9, 3, 2, 1), 3e-4, (3e-5, 1e-4, 3e-4)),
        ((0, 3, 2, 4), 1e-4, (3e-5, 1e-4, 3e-4)),
        ((1, 2, 3, 0), 1e-5, (3e-5, 1e-4, 1e-5)),
        ((5, 2, 3, 0), 3e-5, (3e-5, 1e-4, 1e-5)),
        ((2, 2, 2, 1), 1e-5, (3e-5, 1e-4, 1e-5)),
        ((1, NONE, NONE, NONE), 1e-5, (3e-5, 1e-4, 1e-5)),
    ],
)
def test_two_rates_and_the_one_beside_the_better_are_tried(losses, best, tried):
    asked = []
    by_rate = dict(zip(learning_rates.RATES, losses, strict=True))
    assert best_rate(learning_rates.RATES, lambda rate: asked.append(rate) or by_rate[rate]) == best
    assert tuple(asked) == tried


def test_a_trial_is_a_short_training_from_the_base_model(measure, base, tmp_path):
    chosen = measure(warmup_share=0.5)
    # A twentieth of the steps.
    assert (chosen.steps, chosen.texts) == (5, 3)
    assert [trial.learning_rate for trial in chosen.trials] == [3e-5, 1e-4, 3e-4]
    for trial in chosen.trials:
        job = TrainingJob(
            base=base,
            rows=ROWS,
            development=DEVELOPMENT,
            parameters=replace(
                SETTINGS, steps=5, warmup_share=0.5, learning_rate=trial.learning_rate
            ),
            bos_token=None,
            state_folder=tmp_path / "state",
            fingerprint="g",
            device="cpu",
        )
        alone = finetune(job, tmp_path / "alone", facts={}, report=lambda _: None)
        assert (alone.base, alone.best) == (chosen.base, trial.loss)
    assert chosen.learning_rate == min(chosen.trials, key=lambda each: each.loss.mean).learning_rate
    assert chosen.summary.startswith(
        f"learning rate {chosen.learning_rate:.0e}, by the development loss after 5 steps"
    )
    # No checkpoint of them is kept.
    assert not list((tmp_path / "trials").rglob("*.safetensors"))


def test_a_trial_has_four_steps_at_least_and_half_as_many_texts_as_it_trained_on_at_most(measure):
    chosen = measure(steps=10, batch_size=1)
    # Of three development texts every second one is taken, where two are wanted.
    assert (chosen.steps, chosen.texts) == (4, 2)


def test_adapters_are_tried_with_ten_times_the_rates(measure):
    pytest.importorskip("peft")
    tried = {trial.learning_rate for trial in measure(lora_rank=2).trials}
    assert tried < {1e-4, 3e-4, 1e-3, 3e-3}


def test_killed_trials_go_on_and_finished_ones_are_not_done_again(measure, monkeypatch):
    undisturbed_steps = []
    undisturbed = measure(lambda done, steps: undisturbed_steps.append((done, steps)))
    assert undisturbed_steps == [(done, 15) for done in range(1, 16)]
    fed = []
    step = training_processes.Trainer._step
    monkeypatch.setattr(
        training_processes.Trainer,
        "_step",
        lambda trainer, number: fed.append(number) or step(trainer, number),
    )

    def kill(done, _):
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(kill, "killed", save_every=1)
    assert fed == [1, 2, 3, 4, 5, 1, 2]
    fed.clear()
    resumed = measure(name="killed", save_every=1)
    assert fed == [3, 4, 5, 1, 2, 3, 4, 5]
    assert resumed == undisturbed


def test_a_rate_that_diverges_loses_and_where_all_do_there_is_none(measure, monkeypatch):
    monkeypatch.setattr(learning_rates, "RATES", (1e-4, 1e-3, 1e30, 1e31))
    chosen = measure()
    assert chosen.learning_rate in (1e-4, 1e-3)
    assert "1e+30: not finite" in chosen.summary
    monkeypatch.setattr(learning_rates, "RATES", (1e28, 1e29, 1e30, 1e31))
    with pytest.raises(TrainingError, match=r"every learning rate.*1e\+28: not finite; 1e\+29"):
        measure()


def test_a_rate_whose_losses_rise_is_none(measure, monkeypatch):
    monkeypatch.setattr(learning_rates, "RATES", (1.0, 2.0, 3.0, 4.0))
    with pytest.raises(TrainingError, match=r"1e\+00: \d.* where the base model has \d") as raised:
        measure()
    assert "No model was stored." in str(raised.value)
