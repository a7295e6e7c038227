"""The text form of calls."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.errors import CallSyntaxError
from tools.protocol import ToolCall
from tools.syntax import (
    CALL_OPEN,
    check_arguments,
    clean_result,
    format_call,
    insert_calls,
    parse_sample,
    remove_calls,
    strip_quotes,
)

SYNTAX_REASONS = {
    "no_closing_bracket",
    "not_a_call",
    "other_tool",
    "arrow_in_arguments",
    "bracket_in_arguments",
}

any_text = st.text(st.characters(), max_size=60)
# Dense in everything that could be mistaken for a marker.
marker_text = st.text(
    st.sampled_from("[]->( )\n\t\x00\x1f\u2028\"'aé") | st.characters(), max_size=40
)
tool_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True)


@st.composite
def valid_arguments(draw):
    text = " ".join(draw(any_text).replace("[", "").replace("]", "").split())
    text = text.replace("->", "")
    previous = None
    while previous != text:
        previous, text = text, strip_quotes(text).replace("->", "")
    return text


def test_call_without_result_keeps_the_arrow_unless_told_otherwise():
    call = ToolCall("QA", "Who?")
    for nothing in (None, ""):
        assert format_call(call, nothing) == " [QA(Who?) ->]"
        assert format_call(call, nothing, empty_result_keeps_arrow=False) == " [QA(Who?)]"


@given(tool_names, valid_arguments())
def test_parsing_a_formatted_call_gives_the_call_back(name, arguments):
    text = format_call(ToolCall(name, arguments), empty_result_keeps_arrow=False)
    assert parse_sample(text.removeprefix(CALL_OPEN) + " and so on", name) == arguments


@given(marker_text)
def test_a_sample_parses_to_usable_arguments_or_fails_with_a_known_reason(sample):
    for text in (sample, f"QA({sample}", f"QA({sample})]"):
        try:
            arguments, reason = parse_sample(text, "QA"), None
        except CallSyntaxError as error:
            arguments, reason = "", error.reason
        assert reason is None or reason in SYNTAX_REASONS
        check_arguments(arguments)
        assert arguments == arguments.strip()


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("QA((5 + 1) * 3)].", "(5 + 1) * 3"),
        ('QA( "6 * 7" )] 42', "6 * 7"),
        ("QA()]", ""),
        ("", "no_closing_bracket"),
        ("2]", "not_a_call"),
        ("QA(Who?) -> Bea]", "not_a_call"),
        ("MT(Who?)]", "other_tool"),
        ("QA(a -> b)]", "arrow_in_arguments"),
        ("QA(a[0])]", "bracket_in_arguments"),
    ],
)
def test_arguments_are_read_up_to_the_first_closing_bracket_or_refused(sample, expected):
    try:
        found = parse_sample(sample, "QA")
    except CallSyntaxError as error:
        found = error.reason
    assert found == expected


def test_only_one_enclosing_pair_of_quotes_is_stripped():
    assert (strip_quotes("“a”"), strip_quotes('""')) == ("a", "")
    for text in ('""a""', '"a" or "b"'):
        assert strip_quotes(text) == text


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a->b", "a to b"),
        ("a --> b", "a - to b"),
        ("a -\x00> b", "a - > b"),
        ("-\n>", "- >"),
        ("  [1]\n\n[2] ", "(1) (2)"),
        # Joiners that scripts need stay.
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("क्\u200dष", "क्\u200dष"),
        ("\u0600٤٢", "\u0600٤٢"),
        ("\ud800", "?"),
        (" \n ", ""),
    ],
)
def test_markers_in_results_are_replaced(text, cleaned):
    assert clean_result(text) == cleaned


@given(marker_text | any_text)
def test_a_cleaned_result_has_no_markers_and_stays_as_it_is(text):
    cleaned = clean_result(text)
    assert clean_result(cleaned) == cleaned
    assert not any(marker in cleaned for marker in ("[", "]", "->", "\n", "\r", "  "))
    assert cleaned == cleaned.strip()
    cleaned.encode("utf-8")


@given(marker_text, st.lists(st.tuples(st.integers(0, 40), marker_text), max_size=5))
def test_removing_inserted_calls_restores_the_text(text, calls):
    calls = [(min(offset, len(text)), call) for offset, call in calls]
    assert remove_calls(insert_calls(text, calls), calls) == text


def test_an_offset_outside_the_text_or_without_its_call_is_named():
    for offset in (-1, 4):
        with pytest.raises(ValueError, match=f"offset {offset}"):
            insert_calls("abc", [(offset, " [x]")])
    with pytest.raises(ValueError, match="offset 1"):
        remove_calls("a [y]bc", [(1, " [x]")])


def test_calls_at_one_offset_stand_in_the_order_given():
    assert insert_calls("ab", [(1, "2"), (1, "1"), (0, "3")]) == "3a21b"


def test_what_nobody_sees_leaves_results():
    for unseen in (
        *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c",
        *"\u00ad\u200b\u2060\u2064\ufeff\U000e0001\U000e0041\U000e007f",
    ):
        assert clean_result(f"4{unseen}2 {unseen}") == "42"
        assert clean_result(f"a -{unseen}> b") == "a to b"
