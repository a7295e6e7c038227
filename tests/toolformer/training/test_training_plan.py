from pathlib import Path

import pytest

from tests.fakes import tiny_model
from toolformer.training.training_plan import parameter_count, planned_steps


@pytest.mark.parametrize(
    ("texts", "epochs", "steps"), [(100, 1.0, 7), (100, 2.0, 13), (5, 1.0, 1), (1, 0.1, 1)]
)
def test_steps_follow_from_texts_and_epochs(texts: int, epochs: float, steps: int):
    assert planned_steps(texts, batch_size=16, epochs=epochs) == steps


def test_parameters_are_counted_from_the_headers(tmp_path: Path):
    model = tiny_model().model
    model.save_pretrained(tmp_path)
    files = list(tmp_path.glob("*.safetensors"))
    assert parameter_count(files) == sum(each.numel() for each in model.parameters())
