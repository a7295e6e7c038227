import pytest

from tools.proposing.facts import propose_facts, query_before


def words(text: str) -> list[str]:
    return [text[each.offset :].split()[0] for each in propose_facts(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Barack Obama was born in Honolulu on August 4, 1961.",
            ["Honolulu", "August", "1961."],
        ),
        ("He met Joe Biden, I think, and I'm sure.", ["Joe"]),
        ("Rain fell. Berlin was wet, said “Paris”.\nRome\nin Rome", []),
        ("We saw Rome, then Rome again, 12 of 12 and Apollo 11.", ["Rome,", "12", "Apollo"]),
        ("It costs $5 for 20-year-old wine, 3/4 of 1914-1918.", []),
        ("He was in (Nice) with É and Émile.", ["Nice)", "Émile."]),
        ("", []),
    ],
)
def test_new_names_and_numbers_that_begin_no_sentence(text, expected):
    assert words(text) == expected


def test_a_query_is_the_title_and_the_words_in_front():
    text = "one two three [four] five -> six seven"
    options = {"title": "A [Title]", "words": 4, "characters": 300}
    assert query_before(text, 33, **options) == "A (Title) (four) five to six"
    assert query_before(text, 33, **{**options, "title": None}) == "(four) five to six"
    assert query_before(text, 0, title=None, words=4, characters=300) == ""
    assert query_before(text, 33, **{**options, "characters": 20}) == "A (Title) to six"
