"""Arguments with types: reading them, and their one normal form."""

from enum import Enum
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.errors import CallSyntaxError, ToolSettingsError
from tools.plugins.typed_arguments import Parameter, read_arguments, write_arguments
from tools.protocol import ToolCall
from tools.running.contract import NASTY_ARGUMENTS
from tools.syntax import CALL_OPEN, format_call, parse_sample

AMOUNT = Parameter("amount", float)
UNIT = Parameter("unit", str)
COUNT = Parameter("count", int, False, 3, {"minimum": 0, "maximum": 10})
LOUD = Parameter("loud", bool, is_required=False, default=False)
COLOUR = Parameter("colour", Literal["red", "Blue", 7], is_required=False, default="red")
ALL = [AMOUNT, UNIT, COUNT, LOUD, COLOUR]
SIGNATURES = [
    ALL,
    [UNIT],
    [AMOUNT],
    [UNIT, Parameter("other", str)],
    [Parameter("unit", str, is_required=False), COUNT],
    [COLOUR, LOUD],
    [],
]


def normal(text, parameters):
    return write_arguments(read_arguments(text, parameters), parameters)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12, metre", {"amount": 12.0, "unit": "metre"}),
        ("unit = metre, amount = 1e3", {"unit": "metre", "amount": 1000.0}),
        ("'12, metre'", {"amount": 12.0, "unit": "metre"}),
        ("12, 'a, b'", {"amount": 12.0, "unit": "a, b"}),
        (
            "-.5, m, 07, TRUE, blue",
            {"amount": -0.5, "unit": "m", "count": 7, "loud": True, "colour": "Blue"},
        ),
        ("1, m, colour=7", {"amount": 1.0, "unit": "m", "colour": 7}),
        ("12", "missing_argument"),
        (", m", "wrong_value"),
        ("1e999, m", "wrong_value"),
        ("1_000, m", "wrong_value"),
        ("٣, m", "wrong_value"),
        ("1, m, 2.0", "wrong_value"),
        ("1, m, 11", "wrong_value"),
        ("1, m, 1, maybe", "wrong_value"),
        ("\ud800, m", "wrong_value"),
        ("1, m, 1, true, red, 5", "too_many_arguments"),
        ("1, m, size=5", "unknown_argument"),
        ("1, m, unit=k", "argument_given_twice"),
        ("amount=1, m", "unnamed_after_named"),
        ("1, 'm", "quote_not_closed"),
        ("1, [m]", "bracket_in_arguments"),
        ("1 -> m", "arrow_in_arguments"),
    ],
)
def test_arguments_are_read_by_their_types_or_refused_with_a_reason(text, expected):
    try:
        found = read_arguments(text, ALL)
    except CallSyntaxError as error:
        found = error.reason
    assert found == expected


@pytest.mark.parametrize(
    ("text", "expected", "parameters"),
    [
        ("012.50, metre", "12.5, metre", ALL),
        ("12.0, unit = metre, count = 3, loud = FALSE", "12, metre", ALL),
        ("1, m, 5, colour=BLUE", "1, m, 5, colour=Blue", ALL),
        ("1, 'a, b', 5", '1, unit="a, b", count=5', ALL),
        ("""1, 'a, "b"'""", """1, unit='a, "b"'""", ALL),
        ("1, 'x=1'", '1, unit="x=1"', ALL),
        ("1e30, m", "1e+30, m", ALL),
        # Where the only argument is a text everything belongs to it.
        ('unit="Suez"', "Suez", [UNIT]),
        ("a=b, c", "a=b, c", [UNIT]),
        ("unit=unit=b", "unit=unit=b", [UNIT]),
        ('"a" or "b"', '"a" or "b"', [UNIT]),
    ],
)
def test_texts_that_mean_the_same_call_have_one_normal_form(text, expected, parameters):
    assert normal(text, parameters) == expected
    assert normal(expected, parameters) == expected


def test_a_text_with_both_quotes_that_needs_quotes_cannot_be_written():
    with pytest.raises(CallSyntaxError) as caught:
        write_arguments({"amount": 1.0, "unit": "a, 'b' \"c\""}, ALL)
    assert caught.value.reason == "both_quotes"


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (list[int], "cannot be written in a call"),
        (Enum, "cannot be written in a call"),
        (Literal["two  words", "b"], "choices"),
        (Literal["a[0]", "b"], "choices"),
        (Literal[b"a", "b"], "choices"),
    ],
)
def test_a_type_that_cannot_be_written_in_a_call_is_refused(annotation, message):
    with pytest.raises(ToolSettingsError, match=message):
        Parameter("x", annotation)


PIECES = st.sampled_from(
    [*"abm1290.,='\" -+eE“”«»", "unit=", "count=", "true", "red", "Blue", ", "]
)
TEXTS = st.one_of(
    st.lists(PIECES, max_size=12).map("".join),
    st.text(max_size=30),
    st.sampled_from((*NASTY_ARGUMENTS, "\ud800")),
)


@given(TEXTS, st.sampled_from(SIGNATURES))
def test_reading_raises_nothing_else_and_the_normal_form_stays(text, parameters):
    try:
        arguments = normal(text, parameters)
    except CallSyntaxError:
        return
    assert normal(arguments, parameters) == arguments
    # As the model sees it.
    written = format_call(ToolCall("Tool", arguments), empty_result_keeps_arrow=False)
    read = parse_sample(written.removeprefix(CALL_OPEN), "Tool")
    assert normal(read, parameters) == arguments


@given(
    st.fixed_dictionaries(
        {
            "amount": st.floats(allow_nan=False, allow_infinity=False),
            "unit": st.text(alphabet="ab ,='\"“x1", min_size=1, max_size=8)
            .map(lambda text: " ".join(text.split()))
            .filter(lambda text: text and not ('"' in text and "'" in text)),
        },
        optional={
            "count": st.integers(0, 10),
            "loud": st.booleans(),
            "colour": st.sampled_from(["red", "Blue", 7]),
        },
    )
)
def test_what_is_written_is_read_again(values):
    defaults = {each.name: each.default for each in ALL if not each.is_required}
    read = read_arguments(write_arguments(values, ALL), ALL)
    assert {**defaults, **read} == {**defaults, **values}
