import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolformer.calls import CallFormat, call_ids, cut_result
from tools.protocol import ToolCall
from tools.syntax import clean_result

CALL = ToolCall("Calculator", "6 * 7")
RESULTS = st.text(alphabet="ab é中🌋.", max_size=40).map(clean_result)


@pytest.mark.parametrize(
    ("result", "keeps_arrow", "rest"),
    [("42", True, [" ->", " 42", "]"]), (None, True, [" ->", "]"]), (None, False, ["]"])],
)
def test_a_call_is_encoded_piece_by_piece(tokenizer, result, keeps_arrow, rest):
    call_format = CallFormat(empty_result_keeps_arrow=keeps_arrow)
    ids = call_ids(tokenizer, CALL, result, call_format=call_format)
    assert ids == tokenizer.encode_pieces([" [", "Calculator(", "6 * 7", ")", *rest])


@given(result=RESULTS, max_tokens=st.integers(4, 30))
def test_a_cut_result_fits_and_begins_like_the_whole(tokenizer, result, max_tokens):
    cut = cut_result(tokenizer, result, max_tokens=max_tokens)
    assert len(tokenizer.encode(cut)) <= max_tokens
    assert result.startswith(cut)
    assert bool(cut) == bool(result)
    if cut != result and " " in cut:
        assert result[len(cut)] == " "


@pytest.mark.parametrize(
    ("max_tokens", "cut"),
    [(15, "one two three"), (13, "one two three"), (12, "one two"), (7, "one two"), (2, "on")],
)
def test_results_are_cut_between_words_and_long_words_between_characters(
    tokenizer, max_tokens, cut
):
    assert cut_result(tokenizer, "one two three", max_tokens=max_tokens) == cut
