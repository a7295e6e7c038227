from pathlib import Path

import pytest

from tests.fakes import tiny_model
from toolformer.training.training_plan import (
    matmul_speed,
    parameter_count,
    planned_steps,
    training_speed,
)


@pytest.mark.parametrize(
    ("texts", "epochs", "steps"), [(100, 1.0, 7), (100, 2.0, 13), (5, 1.0, 1), (1, 0.1, 1)]
)
def test_steps_follow_from_texts_and_epochs(texts: int, epochs: float, steps: int):
    assert planned_steps(texts, batch_size=16, epochs=epochs) == steps


def test_the_papers_steps_are_two_epochs_of_25_000_texts_of_each_of_five_tools():
    assert 1900 < planned_steps(125_000, batch_size=128, epochs=2.0) < 2000


def test_speed_falls_with_the_model_and_grows_with_the_device(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("toolformer.training.training_plan.matmul_speed", lambda *_: 1e9)
    speed = training_speed(1_000_000, "cpu", "float32")
    assert speed < 1e9 / 6e6
    assert training_speed(2_000_000, "cpu", "float32") == pytest.approx(speed / 2)
    monkeypatch.setattr("toolformer.training.training_plan.matmul_speed", lambda *_: 4e9)
    assert training_speed(1_000_000, "cpu", "float32") == pytest.approx(4 * speed)


def test_parameters_are_counted_from_the_headers(tmp_path: Path):
    model = tiny_model().model
    model.save_pretrained(tmp_path)
    files = list(tmp_path.glob("*.safetensors"))
    assert parameter_count(files) == sum(each.numel() for each in model.parameters())


def test_a_processor_multiplies_matrices():
    assert matmul_speed("cpu", "float32") > 1e8
