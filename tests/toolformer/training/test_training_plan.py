from pathlib import Path

import pytest

from tests.fakes import tiny_model
from toolformer.training.training_plan import matmul_speed, parameter_count, training_plan
from toolformer.training.training_rows import TrainingRow
from toolformer.training.variant_rows import VariantRows


def rows(texts: int, tokens: int = 10) -> VariantRows:
    row = TrainingRow(tuple(range(tokens)), bytes(tokens))
    return VariantRows((row,) * texts, {"Calculator": 2, "MT": 3}, 0)


@pytest.mark.parametrize(
    ("texts", "epochs", "steps"), [(100, 1.0, 7), (100, 2.0, 13), (5, 1.0, 1), (1, 0.1, 1)]
)
def test_steps_follow_from_texts_and_epochs(texts: int, epochs: float, steps: int):
    plan = training_plan(rows(texts), batch_size=16, epochs=epochs, steps=None)
    assert plan.steps == steps
    assert plan.epochs >= epochs
    assert plan.tokens == 10 * 16 * steps


def test_the_papers_steps_are_two_epochs_of_25_000_texts_of_each_of_five_tools():
    assert 1900 < training_plan(rows(125_000), batch_size=128, epochs=2.0, steps=None).steps < 2000


def test_steps_that_are_given_win():
    plan = training_plan(rows(8), batch_size=4, epochs=3.0, steps=10)
    assert (plan.texts, plan.calls, plan.steps, plan.epochs) == (8, 5, 10, 5.0)


def test_time_grows_with_the_model_and_falls_with_the_device():
    plan = training_plan(rows(10), batch_size=5, epochs=1.0, steps=None)
    seconds = plan.seconds(1_000_000, 1e9)
    assert seconds > 6 * 1e6 * plan.tokens / 1e9
    assert plan.seconds(2_000_000, 1e9) == pytest.approx(2 * seconds)
    assert plan.seconds(1_000_000, 4e9) == pytest.approx(seconds / 4)


def test_parameters_are_counted_from_the_headers(tmp_path: Path):
    model = tiny_model().model
    model.save_pretrained(tmp_path)
    files = list(tmp_path.glob("*.safetensors"))
    assert parameter_count(files) == sum(each.numel() for each in model.parameters())


def test_a_processor_multiplies_matrices():
    assert matmul_speed("cpu", "float32") > 1e8
