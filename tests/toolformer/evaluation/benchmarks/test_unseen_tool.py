"""The prompts with a tool that the model does not know, and how outputs are scored."""

import re

from tests.toolformer.evaluation.benchmarks.question_files import items_of
from toolformer.evaluation.benchmarks.unseen_tool import UnseenTool
from toolformer.files.digests import hex_digest
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


def test_demonstrations_have_the_tools_results_and_nobodys_number_who_is_asked_for():
    for item in ITEMS:
        _, *shown, asked = item.prompt.splitlines()
        for line in shown:
            person, argument, result, copied = SHOWN.fullmatch(line).groups()
            assert (argument, result, copied) == (person, number_of(person), number_of(person))
        (person,) = ASKED.fullmatch(asked).groups()
        assert item.gold == (number_of(person),)
        assert item.gold[0] not in item.prompt
