"""Which numbers and names of a call's arguments stand only behind it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.peeking import TextWords


def peeked(text: str, arguments: str, *known: str | None) -> list[str]:
    """Of a text in which `|` marks the place of the call."""
    before, _, behind = text.partition("|")
    return TextWords(before + behind, *known).only_after(arguments, len(before))


# Of the case: the beginning of a text, up to the place of a call, with arguments and what of them
# the text has behind that place alone.
CASE = [
    ("The long bridge over the firth", "Who opened the Oresund Bridge?", ["Oresund"]),
    ("The long bridge over the firth", "bridge over the firth", []),
    ("The prize for poetry went to a woman", "Wislawa Szymborska prize", ["Wislawa", "Szymborska"]),
    ("The prize for poetry went to a woman", "Who won the prize for poetry?", []),
    ("Nobody knew how many eggs", "36 * 24", ["36", "24"]),
    ("Nobody knew how many eggs were in the crates until they were counted: 36", "36 * 24", ["24"]),
    ("Runa reads 8 pages in a third of an hour, so", "8 * 3", []),
    ("Runa reads 8 pages in a third of an hour, so", "120 / 24", ["120", "24"]),
    ("The town paid for the clock in two halves. Each half was 415 crowns", "415 * 2", []),
    ("The town paid for the clock in two halves. Each", "415 * 2", ["415"]),
    ("A tank holds some litres. After the morning", "17 * 9", ["17", "9"]),
]


@pytest.mark.parametrize(("beginning", "arguments", "expected"), CASE)
def test_arguments_of_the_case_are_held_against_what_stands_before(
    test_data, beginning, arguments, expected
):
    file = test_data / "cases/01-future-arguments/texts.jsonl"
    texts = [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()]
    [text] = [text for text in texts if text.startswith(beginning)]
    assert TextWords(text).only_after(arguments, len(beginning)) == expected


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("It has |1,200 seats.", "1200 / 2", ["1200"]),
        ("It has 1,200 seats, |1200 in all.", "1200 / 2", []),
        ("It has |1200 seats.", "1\u2009200 / 2.0", ["1\u2009200"]),
        ("It is |2.50 wide and 12.5 long.", "2.5 * 5", ["2.5"]),
        ("It has |12 seats, of which 2 are free.", "1 + 2", ["2"]),
        ("It is 12 wide, |1 long.", "2 * 12", []),
        ("A third of |3 is 1.", "3 * 4", []),
        ("Two hundred and five men, |205 in all, of 24.", "205 - 24", ["24"]),
        ("Twenty-four jars of 30, |24 * 30.", "24 * 30", []),
        ("There are |twenty-four jars.", "24 * 30", ["24"]),
        ("There is |one jar.", "1 + 1", []),
        ("A dozen, then 5 %, |of 12 and 100.", "12 * 5 / 100", []),
        ("Of |１２ men", "12", ["12"]),
        ("In the |1980s he wrote 10² lines.", "1980 - 102", ["1980"]),
    ],
)
def test_numbers_are_compared_by_value(text, arguments, expected):
    assert peeked(text, arguments) == expected


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("The winner was |Zoë Müller.", "zoe muller", ["zoe", "muller"]),
        ("The winner was |Zoe\u0308 Sørensen.", "Who is ZOË SORENSEN?", ["ZOË", "SORENSEN"]),
        ("PARIS is |the place; Paris it was.", "Paris", []),
        ("They met |Curie's sister.", "Curie sister", ["Curie"]),
        ("They met |at noon. The rest is silence.", "Where did they rest? The noon?", []),
        ("They came |home. What a day. When was it?", "What day was it when they came", []),
        ("They used |NATO and eBay.", "nato ebay", ["nato", "ebay"]),
        # At the beginning of a sentence in the text alone, a capital letter says nothing.
        ("The mill is old. |Ships pass it.", "ships mill", []),
        ("The mill is old. |Ships pass it.", "Ships of the mill", ["Ships"]),
        ("They live |by a river.", "River in the town", []),
        ("They live |in Oslo", 'question="Oslo"', ["Oslo"]),
        ("They live in Os|lo", "Oslo", ["Oslo"]),
        ("I saw |I and X.", "I X", []),
        ("In May |the Mayor may come.", "may May", []),
    ],
)
def test_names_are_compared_without_case_and_accents(text, arguments, expected):
    assert peeked(text, arguments) == expected


def test_endless_numbers_are_compared_in_no_time():
    digits, words = "7" * 2_000_000, "hundred " * 20_000
    assert peeked(f"Of |{digits}", digits) == [digits]
    assert peeked(f"{words}|and 5", "5 " + words) == ["5"]


def test_title_and_context_are_known_before_the_text():
    text = "It |opened in 1869 near Port Said."
    assert peeked(text, "Suez Canal Port Said 1869") == ["Port", "Said", "1869"]
    assert peeked(text, "Suez Canal Port Said 1869", "Port Said", None) == ["1869"]
    assert peeked(text, "Port Said 1869", None, "Built from 1859 to 1869 at Port Said.") == []


def test_what_the_text_does_not_have_is_no_peek():
    assert peeked("It |opened.", "Suez Canal 1869") == []
    assert peeked("", "Suez 1") == []
    assert peeked("It |opened.", "") == []


@given(before=st.text(max_size=40), behind=st.text(max_size=40), arguments=st.text(max_size=40))
def test_only_what_the_arguments_hold_is_found_and_nothing_that_stands_in_front(
    before, behind, arguments
):
    words = TextWords(before + " " + behind)
    found = words.only_after(arguments, len(before))
    assert all(word in arguments for word in found)
    assert TextWords(before, arguments, behind).only_after(arguments, 0) == []
    assert words.only_after(arguments, len(before + behind) + 1) == []


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("The Danube flows into the Black Sea.", "Which sea does the Danube flow into?", False),
        ("Which sea the Danube may flow into is known.", "which sea does the danube flow?", True),
        ("Six rows of 14 make 84.", "6 * 14", True),
        ("Six rows of 12 make 72.", "6 * 14", False),
        ("Anything.", "", True),
    ],
)
def test_a_text_holds_arguments_of_which_it_has_all_numbers_and_words(text, arguments, expected):
    assert TextWords(text).contains_all(arguments) == expected
