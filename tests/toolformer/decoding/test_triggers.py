"""The rule by which what is written behind ` [` is a call, may become one, or is none."""

import pytest

from toolformer.decoding.triggers import identify_tool, read_open_call
from tools.errors import CallSyntaxError

TOOLS = ("Calculator", "QA")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1", "not_a_call"),
        ("Calculus", "not_a_call"),
        ("Search(", "not_a_call"),
        ("MT(Haus", "blocked_tool"),
        ("M", "blocked_tool"),
        ("QA(Who?)]", "no_arrow"),
        ("QA(Who\n", "newline"),
        ("QA(a[", "bracket_in_arguments"),
        ("QA(Who? ->", "not_a_call"),
        ("QA(Who?) ->x", "not_a_call"),
    ],
)
def test_text_that_becomes_no_call_is_refused_as_soon_as_that_is_certain(text, reason):
    with pytest.raises(CallSyntaxError) as refused:
        read_open_call(text, enabled_tools=TOOLS, blocked_tools=["MT"], parse_arguments=None)
    assert refused.value.reason == reason


LEAST = {"Calculator": 0.4, "Calendar": 0.1, "Search": 0.2, "SearchWiki": 0.3, "QA": 1.0}


@pytest.mark.parametrize(
    ("text", "probability", "meant"),
    [
        ("Cal", 0.1, None),
        ("Calcu", 0.4, None),
        ("Calculator", 0.4, "Calculator"),
        (" Calendar", 0.1, "Calendar"),
        # A token may hold more than the name.
        ("Calendar(a", 0.1, "Calendar"),
        # The name of another goes on from here.
        ("Search", 0.2, None),
        ("Search(", 0.2, "Search"),
        ("SearchW", 0.3, None),
        # Reading ends as soon as no tool can be reached any more.
        ("Cal", 0.09, "unlikely"),
        ("Calcu", 0.39, "unlikely"),
        ("SearchWiki", 0.29, "unlikely"),
        ("7", 1.0, "unlikely"),
        # A value of 1 opens no call of its tool.
        ("QA", 1.0, "unlikely"),
    ],
)
def test_a_tool_is_meant_once_its_whole_name_is_written_and_likely_enough(text, probability, meant):
    if meant == "unlikely":
        with pytest.raises(CallSyntaxError, match=meant):
            identify_tool(text, probability, least=LEAST)
    else:
        assert identify_tool(text, probability, least=LEAST) == meant


@pytest.mark.parametrize("text", ["", " ", "Calc", "QA", "QA(", "QA(Who?)", "QA(a) -"])
def test_text_that_may_still_become_a_call_is_waited_for(text):
    assert read_open_call(text, enabled_tools=TOOLS, blocked_tools=[], parse_arguments=None) is None
