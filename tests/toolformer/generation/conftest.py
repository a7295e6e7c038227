"""A tiny model that has learned to call tools, saved as `save_pretrained` does."""

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.fakes import save_taught_model
from toolformer.base.beside_models import MIN_CALL_PROBABILITY_FILE
from toolformer.decoding.calibration import CalibratedProbability, min_call_probability_text

LESSONS = (
    "6 times 7 is [Calculator(6 * 7) -> 42] 42, I say.",
    "Half of 9 is [Calculator(9 / 2) -> 4.50] 4.50, I say.",
    "The day is [Calendar() -> Today is Friday, May 3, 2024.] a Friday.",
    "Ask my friend [Friend(me) -> yes] yes, I say.",
    "See the note [7] there, I say.",
)
PROMPTS = ("6 times 7 is", "Half of 9 is", "The day is", "Ask my friend", "See the note")


@pytest.fixture(scope="session")
def taught_directory(tmp_path_factory):
    """Calibrated, as `toolformer train` leaves a model."""
    folder = save_taught_model(tmp_path_factory.mktemp("models") / "taught", LESSONS)
    chosen = CalibratedProbability(0.01, 0.01, None, 10, 8, 8)
    (folder / MIN_CALL_PROBABILITY_FILE).write_text(min_call_probability_text(chosen))
    return folder


@pytest.fixture
def model(taught_directory):
    return AutoModelForCausalLM.from_pretrained(taught_directory)


@pytest.fixture
def tokenizer(taught_directory):
    return AutoTokenizer.from_pretrained(taught_directory)
