import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.protocol import Document
from tools.translation.preselection import preselect_by_language

# Ten words each.
ENGLISH = "The sign at the gate of the park says this:"
MORE_ENGLISH = "I read it twice before we went back to town."
SPANISH = "Se ruega no dar de comer a las palomas hoy"
GERMAN = "Bitte füttern Sie heute keine Tauben auf dem großen Platz"
NUMBERS = "12 15 18 21 — 24 + 27 = 30"
SELECTED = "foreign_text_between_english"


def reason(*parts: str, chunk_tokens: int = 10, foreign_confidence: float = 0.8) -> str:
    decision = preselect_by_language(
        Document("d", " ".join(parts).replace(" / ", "\n")),
        chunk_tokens=chunk_tokens,
        foreign_confidence=foreign_confidence,
    )
    assert decision.is_selected == (decision.reason == SELECTED)
    return decision.reason


@pytest.mark.parametrize("foreign", [[SPANISH], [GERMAN], [SPANISH, SPANISH, GERMAN]])
def test_foreign_text_with_english_on_both_sides_selects(foreign):
    assert reason(ENGLISH, *foreign, MORE_ENGLISH) == SELECTED


@pytest.mark.parametrize(
    "parts",
    [
        # The English text need not touch the foreign one.
        [ENGLISH, NUMBERS, SPANISH, NUMBERS, MORE_ENGLISH],
        [SPANISH, ENGLISH, GERMAN, MORE_ENGLISH, SPANISH],
        ["Something short.", "/", ENGLISH, SPANISH, MORE_ENGLISH, "/", ENGLISH],
        # The last chunk may be short.
        [ENGLISH, SPANISH, "And that was what it said"],
    ],
)
def test_what_stands_beside_does_not_matter(parts):
    assert reason(*parts) == SELECTED


@pytest.mark.parametrize(
    "parts",
    [
        [SPANISH, SPANISH, MORE_ENGLISH],
        [ENGLISH, SPANISH, SPANISH],
        [SPANISH, SPANISH, SPANISH],
        [NUMBERS, ENGLISH, SPANISH, SPANISH, NUMBERS],
    ],
)
def test_foreign_text_at_an_edge_does_not_select(parts):
    assert reason(*parts) == "no_english_around"


def test_english_of_another_paragraph_does_not_count():
    assert reason(ENGLISH, "/", SPANISH, SPANISH, SPANISH, "/", ENGLISH) == "no_english_around"


@pytest.mark.parametrize(
    "parts", [[ENGLISH, MORE_ENGLISH, ENGLISH], [ENGLISH, ENGLISH, NUMBERS, MORE_ENGLISH]]
)
def test_english_text_is_not_selected(parts):
    assert reason(*parts) == "no_foreign_text_inside"


def test_chunks_of_numbers_and_signs_count_neither_way():
    # fastText has an opinion about numbers too. Without them too little is left here.
    assert reason(NUMBERS, SPANISH, NUMBERS) == "no_long_paragraph"
    assert reason(ENGLISH, NUMBERS, MORE_ENGLISH) == "no_long_paragraph"


@pytest.mark.parametrize("text", ["", " \n\n ", "Short.", ENGLISH + " " + SPANISH])
def test_a_text_of_short_paragraphs_is_not_selected(text):
    assert reason(text) == "no_long_paragraph"


def test_the_confidence_must_be_above_the_limit():
    parts = [ENGLISH, SPANISH, MORE_ENGLISH]
    assert reason(*parts, foreign_confidence=0.0) == SELECTED
    # No confidence is above 1.
    assert reason(*parts, foreign_confidence=1.0) == "no_foreign_text_inside"


@given(st.text() | st.lists(st.sampled_from([ENGLISH, SPANISH, NUMBERS, "\n", "\0", "\ud800"])))
def test_no_text_is_an_error(text):
    joined = text if isinstance(text, str) else " ".join(text)
    decision = preselect_by_language(Document("d", joined), chunk_tokens=10, foreign_confidence=0.8)
    assert decision.reason.replace("_", "").isalpha()
