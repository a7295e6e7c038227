import pytest

from tools.translation.languages import (
    ENGLISH,
    NLLB_CODES,
    NLLB_ENGLISH,
    apertium_codes,
    guess_language,
)


def test_every_language_has_a_code_that_nllb_knows():
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    assert set(NLLB_CODES.values()) | {NLLB_ENGLISH} <= set(FAIRSEQ_LANGUAGE_CODES)
    assert len(NLLB_CODES) > 100
    assert ENGLISH not in NLLB_CODES
    assert NLLB_ENGLISH not in NLLB_CODES.values()


def test_apertium_may_name_a_language_in_several_ways():
    for codes in (("sr", "srp", "hbs", "sr"), ("lv", "lvs", "lav", "lv"), ("unheard", "unheard")):
        assert apertium_codes(codes[0]) == codes[1:]


@pytest.mark.parametrize("text", ["", "12,345 + 6 = 7", "el\0río\n", "uno\ud800dos", "x" * 10**6])
def test_odd_text_has_a_language_or_none_and_is_never_an_error(text):
    guess = guess_language(text)
    assert guess is None or any(letter.isalpha() for letter in text)
    assert guess is None or 0 <= guess.confidence <= 1


def test_more_than_eighty_characters_are_read():
    # The library cuts there unless it is told not to.
    english = "Chapter 12 of the book says it in these words, which I shall quote in full here: "
    spanish = "Todos los seres humanos nacen libres e iguales en dignidad y derechos. "
    guess = guess_language(english + 4 * spanish)
    assert len(english) > 80
    assert guess is not None
    assert guess.language == "es"
