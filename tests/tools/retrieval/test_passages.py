import re
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.retrieval.passages import (
    Passage,
    passage_from_raw,
    raw_document,
    read_passage,
    split_passages,
)


@given(st.text(), st.integers(min_value=1, max_value=12))
def test_passages_hold_every_word_once_in_order(text, max_words):
    # Only after a blank line there are headings.
    text = re.sub(r"\n\s*\n", "\n", text)
    passages = list(split_passages("Title", text, passage_ids=count(), max_words=max_words))
    words = [word for passage in passages for word in passage.text.split()]
    assert words == text.split()
    assert all(1 <= len(passage.text.split()) <= max_words for passage in passages)
    assert len({passage.passage_id for passage in passages}) == len(passages)


def test_passages_end_with_a_sentence_where_possible_and_never_span_two_sections():
    text = (
        'One two three. "Four five six." (Seven eight.) Nine ten eleven\n\nHistory\n\nUse\n\nNew.'
    )
    found = split_passages("Suez  Canal", text, "u", passage_ids=count(7), max_words=6)
    assert list(found) == [
        Passage("7", "Suez Canal", "", 'One two three. "Four five six."', "u"),
        Passage("8", "Suez Canal", "", "(Seven eight.) Nine ten eleven", "u"),
        Passage("9", "Suez Canal", "History Use", "New.", "u"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # As wikimedia/wikipedia has them: blanks after a heading, lists with a blank in front.
        (
            "Lead.\n\nUse \n\nOne.\n\nRange\nTwo.",
            [("", "Lead."), ("Use", "One."), ("Range", "Two.")],
        ),
        ("Lead.\n\nUse (new) \n A\n B", [("", "Lead."), ("Use (new)", "A B")]),
        ("Lead.\n\n A\n B\n\nof it", [("", "Lead. A B of it")]),
        ("Lead.\r\n\r\nUse\r\n\r\nOne.\r\n", [("", "Lead."), ("Use", "One.")]),
        ("Lead.\n\nReferences\n\nExternal links", [("", "Lead.")]),
        # The first line of a text is none, nor is one that is long, ends or is an item.
        ("Otters swim", [("", "Otters swim")]),
        ("Use\n\nOne.", [("", "Use One.")]),
        ("Lead.\n\nThey eat.\nFish", [("", "Lead. They eat. Fish")]),
        ("Lead.\n\n- A\n- B", [("", "Lead. - A - B")]),
        (f"Lead.\n\nA{' b' * 40}\nc.", [("", f"Lead. A{' b' * 40} c.")]),
    ],
)
def test_short_lines_after_blank_ones_are_headings(text: str, expected: list[tuple[str, str]]):
    found = split_passages("Otter", text, passage_ids=count())
    assert [(passage.section, passage.text) for passage in found] == expected


def test_a_text_of_blank_lines_is_cut_in_a_moment():
    text = "Lead.\n\n" + "\n" * 300_000 + "\n\nA\n " * 100_000 + " " * 300_000
    assert [*split_passages("Otter", text, passage_ids=count())]


def test_stored_document_gives_the_passage_back():
    passage = Passage("T#1", "Title", "", 'with\nline breaks\né 😀 中文 "quoted" \\ {}', "")
    assert raw_document(passage).isascii()
    assert passage_from_raw(raw_document(passage)) == passage
    assert "\\ud800" not in raw_document(Passage("1", "\ud800", "", "", ""))


TEXT = "The canal opened in 1869."


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"contents": f'"Suez Canal"\n{TEXT}'}, ("Suez Canal", "", TEXT, "")),
        # One line is a text, and no title without one.
        ({"contents": TEXT, "url": "u"}, ("", "", TEXT, "u")),
        ({"contents": f"{TEXT}\nAnd it grew.", "title": "Suez"}, ("Suez", "", ..., "")),
        (
            {"text": TEXT, "title": "Suez", "section": "Use", "url": " u "},
            ("Suez", "Use", TEXT, "u"),
        ),
        ({"text": " ", "contents": TEXT, "title": 7}, ("", "", TEXT, "")),
    ],
)
def test_passages_of_other_collections_are_read(fields, expected):
    passage = read_passage(fields, "7")
    text = fields["contents"] if expected[2] is ... else expected[2]
    assert passage == Passage("7", *expected[:2], text, expected[3])


@pytest.mark.parametrize("fields", [{}, {"contents": 3}, {"text": " ", "title": "T"}])
def test_a_passage_without_text_is_refused(fields):
    with pytest.raises(ValueError, match=r"'7' has no text\. Expected `text` or `contents`"):
        read_passage(fields, "7")
