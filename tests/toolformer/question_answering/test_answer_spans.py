"""What can be an answer, and its tree of tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolformer.question_answering.answer_spans import answer_key, answer_spans


def spans(text: str, question: str = "what?", max_words: int = 4) -> list[str]:
    return answer_spans(text, question, max_words=max_words)


@pytest.mark.parametrize(
    ("text", "found", "missing"),
    [
        (
            "Ada Lovelace wrote it. Charles Babbage (an engineer) built it in 1837.",
            {"Ada Lovelace", "Charles Babbage", "engineer", "1837"},
            ["it. Charles", "(", "."],
        ),
        ("J. R. R. Tolkien lived in Oxford, England.", {"J. R. R. Tolkien", "Oxford, England"}, []),
        ("It cost $5 million, or 40%, “so”.", {"$5 million", "40%"}, ["“"]),
    ],
)
def test_spans_are_stretches_of_the_text_within_one_clause(text, found, missing):
    assert found <= set(spans(text))
    assert not [span for span in spans(text) for part in missing if part in span]


def test_what_repeats_the_question_is_no_answer():
    found = spans("The Night Watch is by Rembrandt.", "Who painted The Night Watch?")
    assert "Rembrandt" in found
    assert not {"Night", "Watch", "Night Watch", "The Night Watch"} & set(found)


def test_function_words_neither_begin_nor_end_an_answer():
    found = spans("It was the capital of Poland and of all", max_words=3)
    assert "the capital" in found
    assert "capital of Poland" in found
    assert not [span for span in found if span.split()[-1] in ("of", "the", "and", "was")]
    assert not [span for span in found if span.split()[0] in ("of", "and", "was", "It")]


@given(st.text(max_size=120), st.text(max_size=30), st.integers(1, 5))
def test_every_span_is_in_the_text_distinct_and_short(text, question, max_words):
    found = spans(text, question, max_words)
    assert len(found) == len(set(found))
    one_line = " ".join(text.split())
    for span in found:
        assert span in one_line
        assert 1 <= len(span.split()) <= max_words
        assert span == span.strip()


@pytest.mark.parametrize(
    ("left", "right"), [("The Beatles", "beatles"), ("1,869", "1 869"), ("A dog!", "dog")]
)
def test_spellings_of_one_answer_have_one_key(left, right):
    assert answer_key(left) == answer_key(right)


@pytest.mark.parametrize(("left", "right"), [("राम", "रोम"), ("5 m", "5 m²"), ("2", "2½")])
def test_different_answers_have_different_keys(left, right):
    assert answer_key(left) != answer_key(right)
    assert left in spans(f"{left} in {right}", right)
