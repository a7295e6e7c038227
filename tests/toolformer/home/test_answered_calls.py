"""What becomes of a result that is longer than results may be."""

import pytest

from tests.fakes import byte_tokenizer
from toolformer.home.home import Home
from toolformer.home.wiring.execution import answered_calls
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.sections import Settings
from tools.calculator import Calculator
from tools.protocol import Document


@pytest.mark.parametrize(
    ("max_tokens", "expected"),
    [(4, ("executed", "12.50", None)), (3, ("failed", None, "result_too_long"))],
)
def test_a_number_that_is_too_long_is_no_result_and_never_another_number(
    tmp_path, max_tokens, expected
):
    settings = Settings.model_validate(
        {"execution": {"max_result_tokens": max_tokens + 1, "uses_cache": False}}
    )
    (answer,) = answered_calls(
        Calculator(),
        [("25 / 2", Document("d", "It is 25 / 2."), 6)],
        byte_tokenizer(),
        Workspace(settings, Home(tmp_path)),
        progress=lambda done, total: None,
    )
    assert (answer["status"], answer["result"], answer["reason"]) == expected
