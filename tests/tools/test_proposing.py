"""Places that tools propose in a text, and the calls."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.base import Tool, proposals_of
from tools.calculator import Calculator
from tools.calendar import Calendar
from tools.errors import ToolBugError, ToolCallError
from tools.machine_translation import MachineTranslation
from tools.proposing.facts import propose_facts, query_before
from tools.protocol import Document, Proposal

CALCULATOR, MT = Calculator(), MachineTranslation()


class Proposing(Tool):
    name = "Proposing"

    def __init__(self, *found):
        self.found = found

    def call(self, arguments, document):
        return arguments

    def proposals(self, document):
        return iter(self.found)


def words(text, proposals):
    """What begins at each place, up to a blank."""
    return [text[proposal.offset :].split()[0] for proposal in proposals]


def sums(text):
    found = CALCULATOR.proposals(Document("d", text))
    arguments = [proposal.arguments for proposal in found]
    return list(zip(words(text, found), arguments, strict=True))


def test_proposals_come_by_offset():
    tool = Proposing(Proposal(3), Proposal(0, "a"), Proposal(3, "b"))
    expected = [Proposal(0, "a"), Proposal(3), Proposal(3, "b")]
    assert proposals_of(tool, Document("d", "text")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "面包房一共36×24=864个，864×3=2592元。": [
            ("864个，864×3=2592元。", "36×24"),
            ("2592元。", "864×3"),
        ],
        "毎日36*24=864個を焼く": [("864個を焼く", "36*24")],
        "모두 36*24=864개이고": [("864개이고", "36*24")],
        "รวม36*24=864ชิ้น": [("864ชิ้น", "36*24")],
        "That is 36*24=864kg in all": [("864kg", "36*24")],
        # Ten thousand times as many, a variable, and an order.
        "一共36×45=1620万": [],
        "รวม36*24=864ล้าน": [],
        "With 4*5=20x it is 20": [],
        "In a 3*4=12th part": [],
    }.items(),
)
def test_a_number_ends_at_a_unit_and_at_letters_of_scripts_without_blanks(text, expected):
    assert sums(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        r"It fills $36 \times 24 = 864$ sacks; \(864 \cdot 3 = 2592\) crowns, \(8 \div 2=4\).": [
            ("864$", "36 × 24"),
            (r"2592\)", "864 ⋅ 3"),
            (r"4\).", "8 ÷ 2"),
        ],
        r"In all \(2\cdot3\times4\) is \(2\cdot3\times4=24\)": [(r"24\)", "2⋅3×4")],
        "36 &times; 24 = 864; 5 &middot; 3 = 15, 8&nbsp;&divide; 2 = 4, 2 &minus; 5 = &minus;3": [
            ("864;", "36 × 24"),
            ("15,", "5 · 3"),
            ("4,", "8 ÷ 2"),
            ("&minus;3", "2 - 5"),
        ],
        # It may be 5.3, and what begins another expression is no result.
        "5&middot;3 = 15": [("15", None)],
        r"It is = 20 \times 31": [],
        r"\(x \cdot 3 \times 4 = 12\)": [(r"12\)", None)],
        r"D:\36\times24 = 5": [("5", None)],
        r"D:\tmp\36 * 24 = 864": [("864", None)],
        r"36 \timestamp 24 = 5, 36 \n 24 = 6": [("5,", None), ("6", None)],
    }.items(),
)
def test_signs_of_latex_and_html_are_read_and_places_stay(text, expected):
    assert sums(text) == expected


def test_numbers_between_letters_of_scripts_without_blanks_are_read():
    for text in ("一天烤36盘每盘24个共864个", "36枚に24個で864個", "아침36판에24개씩864개"):
        chosen = CALCULATOR.preselect(Document("d", text))
        assert chosen.reason == "computed_number"
    assert CALCULATOR.preselect(Document("d", "H36 x24 y864")).reason == "fewer_than_three_numbers"


@pytest.mark.parametrize(
    "wrong",
    [Proposal(4), Proposal(-1), Proposal(True), Proposal(1, 5), (1, None)],  # pyright: ignore
)
def test_what_is_wrong_names_the_tool(wrong):
    with pytest.raises(ToolBugError, match="Proposing"):
        proposals_of(Proposing(wrong), Document("d-1", "text"))


def test_no_more_places_are_taken_than_a_text_has_characters():
    endless = Proposing()
    endless.found = itertools.repeat(Proposal(0))
    with pytest.raises(ToolBugError, match="more than 4"):
        proposals_of(endless, Document("d-1", "text"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It opens on Monday, 3 March 2024.", ["Monday,", "March", "2024."]),
        ("May 3, 2024 was a Friday; Fridays are short.", ["May", "2024", "Friday;", "Fridays"]),
        ("Today, yesterday or tomorrow?", ["Today,", "yesterday", "tomorrow?"]),
        ("In the 1990s, or 1984 (or 2101)?", ["1984"]),
        ("She may march in May; mondays and todays.", []),
        ("It is $1999, 2,000 or 2000.5, 1914-1918, 12/2020, 2020-05-01 or 2000%.", []),
    ],
)
def test_dates_are_words_of_date_and_time(text, expected):
    found = Calendar().proposals(Document("d", text))
    assert words(text, found) == expected
    assert {each.arguments for each in found} <= {""}


def test_a_dated_document_gets_the_places_of_its_own_day():
    text = "On Friday, 3 May 2024; in May 2023, today, on Saturday, on Fridays, in 2024."
    document = Document("d", text, url="https://example.org/2024/05/03/fair.html")
    found = Calendar().proposals(document)
    assert words(text, found) == ["Friday,", "May", "2024;", "May", "2024."]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Barack Obama was born in Honolulu on August 4, 1961.", ["Honolulu", "August", "1961."]),
        ("He met Joe Biden, I think, and I'm sure.", ["Joe"]),
        ("Rain fell. Berlin was wet, said “Paris”.\nRome\nin Rome", []),
        ("We saw Rome, then Rome again, 12 of 12 and Apollo 11.", ["Rome,", "12", "Apollo"]),
        ("It costs $5 for 20-year-old wine, 3/4 of 1914-1918.", []),
        ("He was in (Nice) with É and Émile.", ["Nice)", "Émile."]),
    ],
)
def test_facts_are_new_names_and_numbers_that_begin_no_sentence(text, expected):
    assert words(text, propose_facts(text)) == expected


def test_a_query_is_the_title_and_the_words_in_front():
    text = "one two three [four] five -> six seven"
    options = {"title": "A [Title]", "words": 4, "characters": 300}
    assert query_before(text, 33, **options) == "A (Title) (four) five to six"
    assert query_before(text, 33, **{**options, "title": None}) == "(four) five to six"
    assert query_before(text, 33, **{**options, "characters": 20}) == "A (Title) to six"


@pytest.mark.parametrize(
    ("text", "number", "expression"),
    [
        ("<<24+27=51>>51", "51>>51", "24+27"),
        ("(3 + 4 = 7)", "7)", "3 + 4"),
        ("a) 3 + 4 = 7", "7", "3 + 4"),
        ("It is 14 + 6 x 5 = 44.", "44.", "14 + 6 * 5"),
        ("1,400 ÷ 2 = 700", "700", "1,400 ÷ 2"),
        ("6 * ( 2 + 1 ) = 18", "18", "6 * ( 2 + 1 )"),
        ("3 − 5 = -2", "-2", "3 - 5"),
        ("room 12 1 200 * 3 = 3 600", "3", "1 200 * 3"),
        ("12 – 5 + 3 = 10", "10", "12 - 5 + 3"),
        ("Item 12 $345 + $4 = $349", "$349", "345 + 4"),
        ("12\n345 + 4 = 349", "349", "345 + 4"),
        # A number that cannot be read is not cut to one that can.
        ("3,5 * 2 = 7", "7", None),
        ("10^6 / 10^3 = 1000", "1000", None),
        ("2 x 10⁶ + 1 = 2000001", "2000001", None),
        ("5 ✕ 3 + 4 = 19", "19", "5 ✕ 3 + 4"),
        ("3: 4 + 5 = 9", "9", "4 + 5"),
        ("It is 1/2 + 1/2 = 1", "1", "1/2 + 1/2"),
        # Nor is a part of an expression taken for all of it.
        ("2 1/2 + 1 = 3 1/2", "3", None),
        ("2 and 1⁄2 + 1 = 3.5", "3.5", None),
        ("3 + 2 1/2 * 2 = 8", "8", None),
        ("7:30 + 2 = 9", "9", None),
        ("12 : 3 + 1 = 5", "5", None),
        ("√9 + 1 = 4", "4", None),
        ("sqrt 9 + 1 = 4", "4", None),
        ("2 (3 + 4) = 14", "14", None),
        ("2x 3 + 4 = 10", "10", None),
        ("7 plus 3 * 2 = 13", "13", None),
        ("20% of 50 + 5 = 15", "15", None),
        ("±3 + 4 = 7", "7", None),
        ("3 x^2 + 1 = 4", "4", None),
        ("|−3| + 2 = 5", "5", None),
        ("(3 + 4)² = 49", "49", None),
        # Without an expression that computes only the place is proposed.
        ("x + 3 * 4 = 20", "20", None),
        ("f(3 + 4) = 7", "7", None),
        ("20% of 50 = 10", "10", None),
        ("4 / 0 = 3", "3", None),
        ("width = 100", "100", None),
        ("In all, there are 51 bags.", "51", None),
        ("The ticket costs about $12.50 per day.", "$12.50", None),
    ],
)
def test_an_expression_in_front_of_equals_is_the_call(text, number, expression):
    assert sums(text) == [(number, expression)]


def test_calls_in_texts_with_number_formats_of_other_countries(test_data):
    lines = (test_data / "cases/02-number-formats/texts.jsonl").read_text(encoding="utf-8")
    found = [[call for _, call in sums(json.loads(line)["text"])] for line in lines.splitlines()]
    assert found == [
        [None],
        ["1 200 * 3", "3 600 - 600"],
        ["12 - 5", None],
        [None],
        ["24 × 12", "24 · 12"],
    ]


def test_with_more_decimals_results_are_those_of_the_texts(test_data):
    calculator = Calculator(decimals=4)
    lines = (test_data / "cases/10-two-decimals/texts.jsonl").read_text(encoding="utf-8")
    for line in lines.splitlines():
        document = Document("d", json.loads(line)["text"])
        proposed = calculator.proposals(document)
        assert proposed
        for each in proposed:
            result = calculator.call(each.arguments or "", document)
            assert document.text[each.offset :].startswith(result)


def test_where_no_result_follows_nothing_is_proposed_and_each_of_a_chain_otherwise():
    far = "In all the years that went by since then 3 came."
    unreadable = ("1.234,50 + 10 = 1.244,50", "12² = 10^2 + 44 = 5²", "It costs 3,5 pounds.")
    for text in ("24 + 27 = x", "if a == 5 and b >= 6 and c != 7:", "=3x", far, "", *unreadable):
        assert sums(text) == []
    assert sums("24 + 27 = 51, and 51 - 1 = 50 = 5 * 10 = 50") == [
        ("51,", "24 + 27"),
        ("50", "51 - 1"),
        ("50", "5 * 10"),
    ]


@given(st.text(alphabet="12.,()+-*/=$x a\n", max_size=60))
def test_whatever_is_proposed_lies_in_front_of_a_number_and_computes(text):
    for each in CALCULATOR.proposals(Document("d", text)):
        assert text[each.offset] in "0123456789$.-"
        if each.arguments is not None:
            try:
                CALCULATOR.call(each.arguments, Document("d", text))
            except ToolCallError as error:
                pytest.fail(f"{each} of {text!r}: {error}")


@pytest.mark.parametrize(
    ("before", "phrase", "between", "following"),
    [
        ("The Russian word ", "мир", " means ", "peace."),
        ("The Greek ", "θάλασσα", ", the Greek word for ", "“sea”."),
        ("Her book “", "La casa junto al mar de mi madre", "”", " (The House) was read."),
        ("It says: ", "Se ruega no dar de comer a las palomas", ".", " I read it twice."),
        # Of foreign sentences in a row the last is translated.
        (
            "Guten Tag meine Damen und Herren. ",
            "Wie geht es Ihnen heute Abend",
            "?",
            " He said hello.",
        ),
        # Vowel signs and joiners are no letters, and part of a word all the same.
        ("The Hindi name ", "भगत सिंह", " means ", "lion."),
        ("The Thai ", "กรุงเทพมหานคร", " is, in English, ", "Bangkok."),
        ("The Arabic word ", "السَّلَام", " means ", "peace."),
        ("Persian ", "می\u200cخواهم", " means ", "I want."),
        ("“", "Cua\u0301nto cuesta una taza de cafe\u0301", "?”", " he asked."),
    ],
)
def test_a_place_stands_behind_its_phrase(before, phrase, between, following):
    before += phrase + between
    (found,) = MT.proposals(Document("d", before + following))
    assert (found.offset, found.arguments) == (len(before), phrase)
    MT.check_position(MT.parse_arguments(phrase), before=before, after=following)


@pytest.mark.parametrize(
    "text",
    [
        "The naïve café of the façade is open every day of the year.",
        "It says: Se ruega no dar de comer a las palomas.",
        "Authors: Michou Kokodoko, Valentina Dimitrova-Grajzl, Peter Grajzl, Joseph Guse. 2020 a",
        "The chief of Nukuʻalofa was there.",
    ],
)
def test_where_nothing_foreign_stands_or_nothing_follows_it_nothing_is_proposed(text):
    assert MT.proposals(Document("d", text)) == []
