import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toolformer.architectures import windows_of
from toolformer.forward.windows import Window
from toolformer.samples import (
    CallReader,
    SampledCall,
    branch_uniforms,
    call_id,
    drop_misplaced,
    drop_repeated_demonstrations,
    parse_samples,
    sample_text_of,
)
from toolformer.settings.annotation_sections import SamplingSettings
from tools.errors import CallSyntaxError

PIECES = st.lists(
    st.sampled_from(["a", "1", " ", "(", ")", ")]", "]", "].", "[", " [", "->", "\n", "())", "é"]),
    min_size=1,
    max_size=12,
)


@given(pieces=PIECES, is_constrained=st.booleans())
def test_reading_token_by_token_ends_where_reading_the_whole_does(pieces, is_constrained):
    reader = CallReader(is_constrained)
    finished = [reader.is_finished(pieces[: count + 1]) for count in range(len(pieces))]
    first = finished.index(True) if True in finished else len(pieces)
    for count in range(1, first + 1):
        assert reader.end("".join(pieces[:count])) is None
    if True in finished:
        # What is sampled afterwards would not belong to the call.
        so_far = "".join(pieces[: first + 1])
        assert reader.end(so_far) is not None
        assert reader.end("".join(pieces)) == reader.end(so_far)
        assert reader.end(so_far) <= len(so_far)


@given(pieces=PIECES, is_constrained=st.booleans())
def test_the_end_of_a_call_is_its_first_mark(pieces, is_constrained):
    text = "".join(pieces)
    end = CallReader(is_constrained).end(text)
    inner = text if end is None else text[:end].rstrip("]")[: max(end - 1, 0)]
    assert "\n" not in inner
    assert "]" not in inner
    if is_constrained:
        depth = 1 + inner.count("(") - inner.count(")")
        assert depth > 0
        assert "[" not in inner


@pytest.mark.parametrize(
    ("is_constrained", "sampled", "sample_text"),
    [
        (True, "6 * 7)", "Calculator(6 * 7)]"),
        (True, "6 * 7)] and more", "Calculator(6 * 7)]"),
        (True, "6 * 7) ->", "Calculator(6 * 7)]"),
        (True, "(6 + 1) * 7)", "Calculator((6 + 1) * 7)]"),
        (True, ")", "Calculator()]"),
        (True, "6 * 7", "Calculator(6 * 7"),
        (True, "6 * (7)\nmore", "Calculator(6 * (7)"),
        (True, "6 * 7]", "Calculator(6 * 7]"),
        (True, "a[0])", "Calculator(a["),
        (False, "QA(Who?)]. It", "QA(Who?)]"),
        (False, "QA(Who?) and", "QA(Who?) and"),
        (False, "QA(Who?\n)]", "QA(Who?"),
    ],
)
def test_the_text_of_a_sample(is_constrained, sampled, sample_text):
    assert sample_text_of(sampled, "Calculator", is_constrained=is_constrained) == sample_text


def refuse_letters(arguments: str) -> str:
    if any(character.isalpha() for character in arguments):
        raise CallSyntaxError("letters", f"{arguments!r} has letters.")
    return arguments.replace(" ", "")


def read(window, sampled, *, position=3, **changes):
    return list(
        parse_samples(
            window,
            position,
            0.25,
            sampled,
            tool_name="Calculator",
            parse_arguments=refuse_letters,
            sampling=SamplingSettings(**changes),
        )
    )


@pytest.fixture
def window(tokenizer) -> Window:
    """The second one of a text."""
    return windows_of(tokenizer, "Six times seven é is 42.", window_tokens=16)[1]


def test_samples_become_rows_with_status_and_reason(window):
    sampled = ["6 * 7)", "6*7)", "six)", "6 * 7", "1 -> 2)", "a[", "6 * 8)", "six)"]
    rows = read(window, sampled)
    assert [(row.arguments, row.status, row.reason) for row in rows] == [
        ("6*7", "parsed", None),
        ("6*7", "dropped", "duplicate"),
        ("six", "dropped", "invalid_arguments"),
        (None, "dropped", "no_closing_bracket"),
        (None, "dropped", "arrow_in_arguments"),
        (None, "dropped", "no_closing_bracket"),
        ("6*8", "parsed", None),
        ("six", "dropped", "invalid_arguments"),
    ]
    assert [row.sample_index for row in rows] == list(range(len(sampled)))
    assert len({row.call_id for row in rows}) == len(sampled)
    # Where in the whole text the call stands.
    assert {(row.document_id, row.window_index, row.position) for row in rows} == {
        ("document-0", 1, 3)
    }
    assert {row.character_offset for row in rows} == {window.start + window.offsets[3]}
    assert {row.call_probability for row in rows} == {0.25}


def test_a_free_sample_of_another_tool_is_dropped(window):
    rows = read(window, ["QA(1)]", "Calculator(1)]", "]"], is_constrained=False)
    assert [row.reason for row in rows] == ["other_tool", None, "not_a_call"]


def test_keys_tell_samples_apart_and_are_the_same_in_every_process():
    key = ("document", 0, "QA", 3, 1, 1)
    others = [
        ("document-2", 0, "QA", 3, 1, 1),
        ("document", 1, "QA", 3, 1, 1),
        ("document", 0, "MT", 3, 1, 1),
        ("document", 0, "QA", 31, 1, 1),
        ("document", 0, "QA", 3, 11, 1),
        ("document", 0, "QA", 3, 1, 2),
    ]
    assert len({call_id(*parts) for parts in [key, *others]}) == 7
    # From `b2sum -l 128`, written down: a key that changed would orphan every stored row.
    assert call_id(*key) == "c912131f581f8b82998f049701fee7cf"


def test_every_branch_has_random_numbers_of_its_own():
    key = (7, "document", 0, "QA", 3, 1)
    numbers = branch_uniforms(*key, count=50)
    assert numbers.shape == (50,)
    assert ((numbers >= 0) & (numbers < 1)).all()
    # A longer limit does not change the numbers that a shorter one uses.
    np.testing.assert_array_equal(numbers, branch_uniforms(*key, count=80)[:50])
    for place, other in enumerate([8, "document-2", 1, "MT", 4, 2]):
        changed = [*key[:place], other, *key[place + 1 :]]
        assert not np.isclose(branch_uniforms(*changed, count=50), numbers).any()


def sample(number: int, document_id: str, index: int, offset: int, **changes) -> SampledCall:
    values = {
        "arguments": "b",
        "status": "parsed",
        "reason": None,
        "position": 0,
        "call_probability": 0.5,
        "sample_index": 0,
        "sample_text": "QA(b)]",
        "proposed": "none",
    }
    return SampledCall(
        str(number), document_id, index, character_offset=offset, **{**values, **changes}
    )


def only_after(arguments: str, *, before: str, after: str) -> None:
    if arguments not in before:
        raise CallSyntaxError("look_ahead" if arguments in after else "not_in_text", "No.")


def test_a_call_is_checked_against_the_window_that_it_stands_in():
    # The windows of one document: `ab` and `cb`.
    windows = [
        Window(document_id, index, start, text, ids=(), offsets=())
        for document_id, index, start, text in (
            ("d", 0, 0, "ab"),
            ("d", 1, 2, "cb"),
            ("e", 0, 0, "xy"),
        )
    ]
    samples = [
        sample(0, "d", 0, 2),
        sample(1, "d", 0, 1),
        # There is a `b` further in front, in the other window.
        sample(2, "d", 1, 3),
        sample(3, "d", 1, 4),
        sample(4, "e", 0, 1),
        # What was dropped before keeps its reason.
        sample(5, "d", 0, 0, status="dropped", reason="duplicate"),
        sample(6, "d", 0, 0, status="dropped", reason="no_closing_bracket", arguments=None),
    ]
    checked = drop_misplaced(samples, windows, only_after)
    assert [each.reason for each in checked] == [
        None,
        "look_ahead",
        "look_ahead",
        None,
        "not_in_text",
        "duplicate",
        "no_closing_bracket",
    ]
    for before, after in zip(samples, checked, strict=True):
        status = "parsed" if after.reason is None else "dropped"
        assert after == dataclasses.replace(before, status=status, reason=after.reason)


PROMPT = """Add calls.

Input: Six rows of 14 are 84.
Output: Six rows of 14 are [QA(6 * 14)] 84.

Input: The Danube flows into the Black Sea.
Output: The Danube flows into [QA("Which sea does the Danube flow into?")] the Black Sea.

Input: It is Monday.
Output: It is [QA()] Monday.

Input: {text}
Output:"""


@pytest.mark.parametrize(
    ("text", "title", "arguments", "is_refused"),
    [
        ("A jar is 2.6 wide.", None, "6 * 14", True),
        ("A jar is 2.6 wide.", None, " 6*14 ", True),
        ("A jar is 2.6 wide.", None, "which sea does the Danube flow into", True),
        ("The Danube is long.", None, '"Which sea does the Danube flow into?"', True),
        # The text holds them itself, or they are others.
        ("Six trays of 14 rolls make 84.", None, "6 * 14", False),
        (
            "Ships flow from the river into a sea.",
            "Danube",
            "Which sea does the Danube flow into?",
            False,
        ),
        ("A jar is 2.6 wide.", None, "6 * 15", False),
        ("The Rhine is long.", None, "Which sea does the Rhine flow into?", False),
        # What all calls of a tool have in common is nothing to copy.
        ("A jar is 2.6 wide.", None, "", False),
    ],
)
def test_a_call_that_repeats_a_demonstration_of_the_prompt_is_refused(
    text, title, arguments, is_refused
):
    windows = [Window("d", 0, 0, text, ids=(), offsets=())]
    given = sample(0, "d", 0, 2, arguments=arguments)
    [found] = drop_repeated_demonstrations([given], windows, PROMPT, {"d": title})
    assert (found.status == "dropped") == is_refused
    assert found.reason == ("repeats_demonstration" if is_refused else None)
    # Without a prompt there is nothing to copy, and a tool's own proposal is no copy.
    proposed = dataclasses.replace(given, proposed="call")
    assert drop_repeated_demonstrations([proposed], windows, PROMPT, {"d": title}) == [proposed]
    assert drop_repeated_demonstrations([given], windows, None, {"d": title}) == [given]


def test_a_sample_that_was_dropped_before_keeps_its_reason():
    windows = [Window("d", 0, 0, "A jar.", ids=(), offsets=())]
    given = sample(0, "d", 0, 2, status="dropped", reason="duplicate", arguments="6 * 14")
    assert drop_repeated_demonstrations([given], windows, PROMPT, {"d": None}) == [given]
