"""Which proposals of a text belong to which of its windows; `test_pipeline` builds with them."""

from assets.dataset.sampling import proposed_calls
from tests.fakes import byte_tokenizer
from toolformer.forward.windows import split_into_windows
from tools.calculator import Calculator
from tools.plugins.function_tool import FunctionTool
from tools.protocol import Document


def test_each_window_has_the_proposals_that_stand_in_it():
    texts = {
        "a": Document("a", "Now 6 * 7 = 42 and in total 8 come."),
        "b": Document("b", "No number."),
    }
    windows = [
        window
        for each in texts.values()
        for window in split_into_windows(
            each.document_id, each.text, byte_tokenizer(), window_tokens=20
        )
    ]
    assert [window.text for window in windows] == [
        "Now 6 * 7 = 42 and",
        " in total 8 come.",
        "No number.",
    ]
    tool = Calculator()  # `al` of `total` is one token.
    assert proposed_calls(tool, texts, windows, "calls") == [{11: "6 * 7"}, {8: None}, {}]
    assert proposed_calls(tool, texts, windows, "positions") == [{11: None}, {8: None}, {}]
    assert proposed_calls(tool, texts, windows, "none") is None
    silent = FunctionTool.from_function(lambda: "x", name="Silent", description="Says x.")
    assert proposed_calls(silent, texts, windows, "calls") is None
