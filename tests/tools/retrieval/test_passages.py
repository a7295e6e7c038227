from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.retrieval.passages import Passage, passage_from_raw, raw_document, split_passages

SECTIONS = st.lists(st.tuples(st.text(), st.text()), max_size=4)


@given(SECTIONS, st.integers(min_value=1, max_value=12))
def test_passages_hold_every_word_once_in_order(sections, max_words):
    passages = list(split_passages("Title", sections, numbers=count(), max_words=max_words))
    words = [word for passage in passages for word in passage.text.split()]
    assert words == [word for _, text in sections for word in text.split()]
    assert all(1 <= len(passage.text.split()) <= max_words for passage in passages)
    assert len({passage.passage_id for passage in passages}) == len(passages)


def test_passages_end_with_a_sentence_where_possible_and_never_span_two_sections():
    sections = [
        ("", 'One two three. "Four five six." (Seven eight.) Nine ten eleven'),
        ("Empty", "  "),
        ("Use", "New."),
    ]
    found = split_passages("Suez  Canal", sections, "u", numbers=count(7), max_words=6)
    assert list(found) == [
        Passage("7", "Suez Canal", "", 'One two three. "Four five six."', "u"),
        Passage("8", "Suez Canal", "", "(Seven eight.) Nine ten eleven", "u"),
        Passage("9", "Suez Canal", "Use", "New.", "u"),
    ]


def test_stored_document_gives_the_passage_back_also_of_a_prebuilt_index():
    passage = Passage("T#1", "Title", "", 'with\nline breaks\né 😀 中文 "quoted" \\ {}', "")
    assert raw_document(passage).isascii()
    assert passage_from_raw(raw_document(passage)) == passage
    assert "\\ud800" not in raw_document(Passage("1", "\ud800", "", "", ""))
    raw = '{"id": "7", "contents": "\\"Suez Canal\\"\\nThe canal opened in 1869."}'
    assert passage_from_raw(raw) == Passage("7", "Suez Canal", "", "The canal opened in 1869.", "")


def test_document_without_text_is_refused():
    for raw in ("", "[]", "{}", '{"contents": 3}'):
        with pytest.raises(ValueError):  # noqa: PT011
            passage_from_raw(raw)
