"""Numbers as people write them: read where there is one meaning, else refused."""

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.numbers import NUMBER, START, NumberError, digits_of, plain

REFUSED = None


def numbers_in(text: str, *, is_single_number: bool = True) -> list[Fraction | None]:
    """The numbers of a text; None for one that cannot be read."""
    found = []
    for match in re.finditer(START + NUMBER, plain(text)):
        try:
            found.append(Fraction(digits_of(match[0], is_single_number=is_single_number)))
        except NumberError:
            found.append(REFUSED)
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234", 1234),
        ("1,234,567.5", Fraction("1234567.5")),
        ("1.234", Fraction("1.234")),
        ("1 200", 1200),
        ("12\u2009345\u2009678", 12345678),
        ("12\u00a0345", 12345),
        ("12\u202f345,", 12345),
        ("1'234.5", Fraction("1234.5")),
        ("1’234", 1234),
        ("1_000", 1000),
        ("２４", 24),
        ("１，２３４．５", Fraction("1234.5")),
        ("007", 7),
        (".5", Fraction("0.5")),
        ("5.", 5),
        ("1e3", 1000),
        ("2.5E-3", Fraction("0.0025")),
        ("½", Fraction("0.5")),
        ("2½ cups", Fraction("2.5")),
        ("2 ⅓", Fraction(7, 3)),
        ("12kg", 12),
        ("x = 14.", 14),
        ("so ...5", 5),
    ],
)
def test_a_form_with_one_meaning_is_that_number(text, value):
    assert numbers_in(text) == [value]


@pytest.mark.parametrize(
    "text",
    [
        *("3,5", "0,5", "1,2,3", "1,2345", "1234,567", "0,123", "12,34,56", "1,00,000"),
        *("1.234,50", "1.234.567", "1,234'567", "1 200,50", "1.2.3", "12.05.2020", "1,234,56"),
        *("3·5", "5'11", "10^6", "10 ^ 6", "10⁶", "5²", "2x10^6", "2 × 10⁻³", "1e999", "7" * 400),
    ],
)
def test_a_form_with_several_meanings_is_refused_as_a_whole(text):
    assert numbers_in(text) == [REFUSED]


def test_what_stands_apart_is_several_numbers():
    assert numbers_in("2003 200, 12 34 and 9-5") == [2003, 200, 12, 34, 9, 5]
    assert numbers_in("1.5 200") == [Fraction("1.5"), 200]
    # In a sentence these may be bottles of 200 ml.
    assert numbers_in("5 200 ml bottles", is_single_number=False) == [REFUSED]


def test_the_rest_of_a_name_is_no_number():
    assert numbers_in("H2O, B2B, MP3 and N1,200") == []


@given(st.text("0123456789,. '’^e½x\u2009-", max_size=20))
def test_a_comma_joins_groups_of_three_only(text):
    for match in re.finditer(START + NUMBER, text):
        try:
            digits_of(match[0])
        except NumberError:
            continue
        assert re.fullmatch(r"[^,]*|[1-9]\d{0,2}(,\d{3})+([.eE ½].*)?", match[0])


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "Z"])))
def test_plain_text_has_the_same_offsets(text):
    assert len(plain(text)) == len(text)


@given(st.integers(0, 10**12))
def test_a_number_with_commas_is_itself(number):
    assert numbers_in(f"{number:,}") == [number]
