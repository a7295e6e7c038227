"""Real weights of another family: Gemma 3 270M, in a folder made as docs/how-to/models.md says.

Skipped without it: `TOOLFORMER_GEMMA` names the folder.
"""

import os
from pathlib import Path

import pytest

from toolformer.forward.language_model import LanguageModel
from toolformer.model_check import TOLERANCES, check_model, faults

pytestmark = [pytest.mark.model, pytest.mark.slow]


@pytest.fixture(scope="module")
def gemma() -> LanguageModel:
    if not (folder := os.environ.get("TOOLFORMER_GEMMA")):
        pytest.skip("needs Gemma 3 270M: TOOLFORMER_GEMMA, the folder of docs/how-to/models.md")
    return LanguageModel.load(Path(folder), precision="float32", device="cpu")


def test_the_numbers_are_those_of_plain_transformers(gemma):
    assert not gemma.is_plain
    check = check_model(gemma)
    assert faults(check, TOLERANCES[gemma.precision]) == [], check
    # By these calls are kept and texts are trained on.
    assert max(check.losses, check.inline_losses, check.training_loss) < 1e-4
