import pytest

from assets.training.planned_training import planned_steps


@pytest.mark.parametrize(
    ("texts", "epochs", "steps"), [(100, 1.0, 7), (100, 2.0, 13), (5, 1.0, 1), (1, 0.1, 1)]
)
def test_steps_follow_from_texts_and_epochs(texts: int, epochs: float, steps: int):
    assert planned_steps(texts, batch_size=16, epochs=epochs) == steps
