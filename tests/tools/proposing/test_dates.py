import pytest

from tools.calendar import Calendar
from tools.protocol import Document


def words(text: str) -> list[str]:
    found = Calendar().proposals(Document("d", text))
    assert {each.arguments for each in found} <= {""}
    return [text[each.offset :].split()[0] for each in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It opens on Monday, 3 March 2024.", ["Monday,", "March", "2024."]),
        ("May 3, 2024 was a Friday; Fridays are short.", ["May", "2024", "Friday;", "Fridays"]),
        ("Today, yesterday or tomorrow?", ["Today,", "yesterday", "tomorrow?"]),
        ("In the 1990s, or 1984 (or 2101)?", ["1984"]),
        ("She may march in May.", []),
        ("It is $1999, 2,000 or 2000.5, 1914-1918, 12/2020, 2020-05-01 or 2000%.", []),
        ("mondays and todays", []),
    ],
)
def test_words_of_date_and_time(text, expected):
    assert words(text) == expected


def test_a_dated_document_gets_the_places_of_its_own_day():
    text = "On Friday, 3 May 2024; in May 2023, today, on Saturday, on Fridays, in 2024."
    document = Document("d", text, url="https://example.org/2024/05/03/fair.html")
    found = [text[each.offset :].split()[0] for each in Calendar().proposals(document)]
    assert found == ["Friday,", "May", "2024;", "May", "2024."]
