import re
import runpy

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from toolformer.calls import call_ids, cut_result
from tools.protocol import ToolCall
from tools.syntax import clean_result

CALL = ToolCall("Calculator", "6 * 7")
RESULTS = st.text(alphabet="ab é中🌋.", max_size=40).map(clean_result)


@pytest.mark.parametrize(
    ("result", "keeps_arrow", "rest"),
    [("42", True, [" ->", " 42", "]"]), (None, True, [" ->", "]"]), (None, False, ["]"])],
)
def test_a_call_is_encoded_piece_by_piece(tokenizer, result, keeps_arrow, rest):
    ids = call_ids(tokenizer, CALL, result, empty_result_keeps_arrow=keeps_arrow)
    assert ids == tokenizer.encode_pieces([" [", "Calculator(", "6 * 7", ")", *rest])


@given(result=RESULTS, max_tokens=st.integers(4, 30))
def test_a_cut_result_fits_and_begins_like_the_whole(tokenizer, result, max_tokens):
    cut = cut_result(tokenizer, result, max_tokens=max_tokens)
    assert len(tokenizer.encode(cut)) <= max_tokens
    assert result.startswith(cut)
    assert bool(cut) == bool(result)
    if cut != result and " " in cut:
        # Between words, which Chinese ones are one character each.
        assert regex.match(r" |中", result[len(cut) :]) or cut.endswith("中")


# What is left of a result, and what follows there.
@pytest.mark.parametrize(
    ("left", "cut_off"),
    [
        ("吊桥横跨", "河流已经"),
        ("UTC 吊桥", "横跨河流"),
        ("Thai: สะพา", "นข้ามแม่น้ำ"),
        ("PDF 東京は", "1,234.50円である"),
        ("高さは", "二百四十三メートルである"),
        ("It cost", " 1,234.50 crowns"),
        ("About", " 1 234 567 people"),
        ("It is 10", " 3×10^6 away"),
        ("It opened on", " 2024-05-31, a Friday"),
        ("From", " -12.5 to 13"),
        ("IDs 12,34,56,78,90,12,34,56,78,", "90,12,34,56,78"),
        ("SHA256 a3f", "0" + 40 * "9ca3f"),
        ("see https://example.org/a/", "2024/05/31/f/g/h/i/j/k/l/m"),
        ("the e\u0301", 40 * "e\u0301"),
        ("of 👨‍👩‍👧", 10 * "👨‍👩‍👧"),
        ("1,234.50 of it", ""),
    ],
)
def test_a_cut_result_ends_between_words_or_characters_and_never_in_a_number(
    tokenizer, left, cut_off
):
    result = left + cut_off
    # A token is a byte; one more holds no other character or number as a whole.
    for more in (0, 1):
        max_tokens = len(left.encode()) + more
        assert cut_result(tokenizer, result, max_tokens=max_tokens) == left


def test_digits_in_a_row_that_no_number_has_are_cut_between_them(tokenizer):
    assert cut_result(tokenizer, "1,234 " + 200 * "9", max_tokens=9) == "1,234 999"


@pytest.mark.parametrize("result", ["12.5", "1,234 of 5", "👨‍👩‍👧 and more", "2024-05-31"])
def test_nothing_is_left_where_the_first_number_or_character_does_not_fit(tokenizer, result):
    assert cut_result(tokenizer, result, max_tokens=3) == ""


@pytest.mark.model
def test_results_without_blanks_keep_what_their_tokens_hold(
    embedded_model_path, test_data, capsys, monkeypatch
):
    script = test_data / "cases" / "22-results-without-spaces" / "cut.py"
    monkeypatch.setattr("sys.argv", [str(script), str(embedded_model_path)])
    runpy.run_path(str(script))
    lengths = re.findall(r"^\d+ -> (\d+) ", capsys.readouterr().out, re.MULTILINE)
    assert len(lengths) == 5
    assert all(int(length) > 20 for length in lengths)
