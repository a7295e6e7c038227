import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.protocol import Document
from tools.translation.language_rules import preselect_by_language
from tools.translation.languages import Guess

# Ten words each.
ENGLISH = "The sign at the gate of the park says this:"
MORE_ENGLISH = "I read it twice before we went back to town."
SPANISH = "Se ruega no dar de comer a las palomas hoy"
GERMAN = "Bitte füttern Sie heute keine Tauben auf dem großen Platz"
NUMBERS = "12 15 18 21 — 24 + 27 = 30"
SELECTED = "foreign_text_between_english"


def reason(*parts: str) -> str:
    decision = preselect_by_language(Document("d", " ".join(parts).replace(" / ", "\n")))
    assert decision.is_selected == (decision.reason == SELECTED)
    return decision.reason


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([ENGLISH, SPANISH, MORE_ENGLISH], SELECTED),
        ([ENGLISH, SPANISH, SPANISH, GERMAN, MORE_ENGLISH], SELECTED),
        # The English text need not touch the foreign one.
        ([ENGLISH, NUMBERS, SPANISH, NUMBERS, MORE_ENGLISH], SELECTED),
        ([SPANISH, ENGLISH, GERMAN, MORE_ENGLISH, SPANISH], SELECTED),
        (["Something short.", "/", ENGLISH, SPANISH, MORE_ENGLISH, "/", ENGLISH], SELECTED),
        # The last chunk may be short.
        ([ENGLISH, SPANISH, "And that was what it said"], SELECTED),
        ([SPANISH, SPANISH, MORE_ENGLISH], "no_english_around"),
        ([ENGLISH, SPANISH, SPANISH], "no_english_around"),
        ([NUMBERS, ENGLISH, SPANISH, SPANISH, NUMBERS], "no_english_around"),
        # English of another paragraph does not count.
        ([ENGLISH, "/", SPANISH, SPANISH, SPANISH, "/", ENGLISH], "no_english_around"),
        ([ENGLISH, ENGLISH, NUMBERS, MORE_ENGLISH], "no_foreign_text_inside"),
        # fastText has an opinion about numbers too. Without them too little is left here.
        ([NUMBERS, SPANISH, NUMBERS], "no_long_paragraph"),
        ([ENGLISH, NUMBERS, MORE_ENGLISH], "no_long_paragraph"),
        ([ENGLISH, SPANISH], "no_long_paragraph"),
        ([" / / "], "no_long_paragraph"),
    ],
)
def test_foreign_text_with_english_on_both_sides_selects(parts, expected):
    assert reason(*parts) == expected


def test_the_confidence_must_be_above_the_limit():
    assert Guess("es", 0.81).is_foreign
    assert not Guess("es", 0.8).is_foreign
    assert not Guess("en", 1.0).is_foreign


@given(st.text() | st.lists(st.sampled_from([ENGLISH, SPANISH, NUMBERS, "\n", "\0", "\ud800"])))
def test_no_text_is_an_error(text):
    parts = [text] if isinstance(text, str) else text
    assert reason(*parts).replace("_", "").isalpha()
