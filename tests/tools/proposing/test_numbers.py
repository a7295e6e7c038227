import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.calculator import Calculator
from tools.errors import ToolCallError
from tools.protocol import Document

CALCULATOR = Calculator()


def proposed(text: str) -> list[tuple[str, str | None]]:
    """What begins at each place, up to a blank, and the arguments."""
    found = CALCULATOR.proposals(Document("d", text))
    return [(text[each.offset :].split()[0], each.arguments) for each in found]


@pytest.mark.parametrize(
    ("text", "number", "expression"),
    [
        ("She has 24 + 27 = 51 bags.", "51", "24 + 27"),
        ("<<24+27=51>>51", "51>>51", "24+27"),
        ("(3 + 4 = 7)", "7)", "3 + 4"),
        ("a) 3 + 4 = 7", "7", "3 + 4"),
        ("It is 14 + 6 x 5 = 44.", "44.", "14 + 6 * 5"),
        ("1,400 ÷ 2 = 700", "700", "1,400 ÷ 2"),
        ("6 * ( 2 + 1 ) = 18", "18", "6 * ( 2 + 1 )"),
        ("3 − 5 = -2", "-2", "3 - 5"),
    ],
)
def test_an_expression_in_front_of_equals_is_the_call(text, number, expression):
    assert proposed(text) == [(number, expression)]
    assert CALCULATOR.call(expression, Document("d", text))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("x + 3 * 4 = 20", "20"),
        ("f(3 + 4) = 7", "7"),
        ("20% of 50 = 10", "10"),
        ("4 / 0 = 3", "3"),
        ("width = 100", "100"),
        ("In all, there are 51 bags.", "51"),
        ("The ticket costs about $12.50 per day.", "$12.50"),
    ],
)
def test_without_an_expression_that_computes_only_the_place_is_proposed(text, number):
    assert proposed(text) == [(number, None)]


@pytest.mark.parametrize(
    "text",
    [
        "24 + 27 = x",
        "if a == 5 and b >= 6 and c != 7:",
        "=3x",
        "In all the years that went by since then 3 came.",
        "",
    ],
)
def test_where_no_result_follows_nothing_is_proposed(text):
    assert proposed(text) == []


def test_each_equals_of_a_chain_has_its_own_expression():
    assert proposed("24 + 27 = 51, and 51 - 1 = 50 = 5 * 10 = 50") == [
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
