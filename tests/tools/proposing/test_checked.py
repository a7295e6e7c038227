import itertools

import pytest

from tools.base import Tool
from tools.errors import ToolBugError
from tools.proposing.checked import proposals_of
from tools.protocol import Document, Proposal


class Proposing(Tool):
    name, version, description = "Proposing", "1", "Proposes what it is told to."

    def __init__(self, *found):
        self.found = found

    def call(self, arguments, document):
        return arguments

    def proposals(self, document):
        return iter(self.found)


def test_proposals_come_by_offset():
    tool = Proposing(Proposal(3), Proposal(0, "a"), Proposal(3, "b"))
    expected = [Proposal(0, "a"), Proposal(3), Proposal(3, "b")]
    assert proposals_of(tool, Document("d", "text")) == expected


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
