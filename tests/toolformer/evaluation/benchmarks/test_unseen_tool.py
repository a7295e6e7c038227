"""The prompts with a tool that the model does not know, and how outputs are scored."""

import re

import pytest

from tests.toolformer.evaluation.benchmarks.question_files import items_of
from toolformer.evaluation.benchmarks.unseen_tool import UnseenTool
from toolformer.ground.digests import hex_digest
from tools.locker import Locker
from tools.protocol import Document

TOOL = Locker(seed=0)
BENCHMARK = UnseenTool(TOOL, seed=0)
ITEMS = items_of(BENCHMARK)
SHOWN = re.compile(r"The locker of (.+) has the number \[Locker\((.+)\) -> ([0-9]+)\] ([0-9]+)\.")
ASKED = re.compile(r"The locker of (.+) has the number")


def number_of(person: str) -> str:
    return TOOL.call(person, Document("a", ""))


def test_items_are_the_same_on_every_machine():
    assert hex_digest(*(item.prompt for item in ITEMS)) == "5b15d3fcd43cc3ae7dd23360ef79498e"
    assert items_of(UnseenTool(Locker(seed=0), seed=0)) == ITEMS


def test_two_hundred_people_are_asked_for_once():
    asked = {item.prompt.splitlines()[-1] for item in ITEMS}
    assert len(ITEMS) == len({item.item_id for item in ITEMS}) == len(asked) == 200
    other = items_of(UnseenTool(TOOL, seed=1))
    assert asked != {item.prompt.splitlines()[-1] for item in other}


def test_a_prompt_shows_the_call_and_ends_where_it_belongs():
    assert ITEMS[0].prompt == (
        "The tool Locker tells the number of a person's locker. "
        "A call looks like this: [Locker(name) -> number].\n"
        "The locker of Jane Price has the number [Locker(Jane Price) -> 4746] 4746.\n"
        "The locker of Rachel Fisher has the number [Locker(Rachel Fisher) -> 5867] 5867.\n"
        "The locker of Oliver King has the number"
    )
    assert all(item.prompt.isascii() for item in ITEMS)


def test_demonstrations_have_the_tools_results_and_nobodys_number_who_is_asked_for():
    for item in ITEMS:
        _, *shown, asked = item.prompt.splitlines()
        for line in shown:
            person, argument, result, copied = SHOWN.fullmatch(line).groups()
            assert (argument, result, copied) == (person, number_of(person), number_of(person))
        (person,) = ASKED.fullmatch(asked).groups()
        assert item.gold == (number_of(person),)
        assert item.gold[0] not in item.prompt


def test_another_tool_is_another_version():
    assert BENCHMARK.version != UnseenTool(Locker(seed=1), seed=0).version


@pytest.mark.parametrize(
    ("output", "is_right"),
    [
        (" 4359.", True),
        (" 4,359.", True),
        (" number 4359. The locker of Ada King has the number 1234", True),
        (" 1234 or 4359", False),
        (" 43590", False),
        (" unknown", False),
        ("", False),
    ],
)
def test_the_first_number_counts(output, is_right):
    assert BENCHMARK.score(ITEMS[0], output) is is_right
