import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import byte_tokenizer
from toolformer.calls import CallFormat, call_ids, call_open_ids, cut_result
from tools.protocol import ToolCall
from tools.syntax import clean_result, format_call

CALL = ToolCall("Calculator", "6 * 7")
PIECES = [" [", "Calculator(", "6 * 7", ")"]
RESULTS = st.text(alphabet="ab é中🌋.", max_size=40).map(clean_result)


def test_a_call_is_encoded_piece_by_piece(tokenizer):
    ids = call_ids(tokenizer, CALL, "42", call_format=CallFormat())
    assert ids == tokenizer.encode_pieces([*PIECES, " ->", " 42", "]"])
    assert tokenizer.decode(ids) == format_call(CALL, "42")


@pytest.mark.parametrize(("keeps_arrow", "rest"), [(True, [" ->", "]"]), (False, ["]"])])
def test_the_call_without_its_result_in_both_readings(tokenizer, keeps_arrow, rest):
    call_format = CallFormat(empty_result_keeps_arrow=keeps_arrow)
    ids = call_ids(tokenizer, CALL, None, call_format=call_format)
    assert ids == tokenizer.encode_pieces([*PIECES, *rest])


@given(
    arguments=st.text(alphabet="ab 1+*()é", max_size=12),
    result=RESULTS.filter(bool),
)
def test_the_markers_are_the_same_tokens_in_every_call(tokenizer, arguments, result):
    (opening,), (closing,) = tokenizer.encode(" ["), tokenizer.encode("]")
    for given_result in (result, None):
        ids = call_ids(tokenizer, ToolCall("QA", arguments), given_result, call_format=CallFormat())
        assert (ids[0], ids[-1]) == (opening, closing)
        assert ids.count(closing) == 1


@pytest.mark.parametrize(("splits_opening", "count"), [(False, 1), (True, 2)])
def test_the_opening_is_one_token_or_several(splits_opening, count):
    tokenizer = byte_tokenizer(splits_opening=splits_opening)
    ids = call_open_ids(tokenizer)
    assert len(ids) == count
    assert tokenizer.decode(ids) == " ["


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
