import itertools

import pytest

from tools.base import Tool
from tools.errors import ToolBugError
from tools.proposing.checked import proposals_of
from tools.protocol import Document, Proposal
from tools.registry import create_tool


class Proposing(Tool):
    name, version, description = "Proposing", "1", "Proposes what it is told to."

    def __init__(self, *found):
        self.found = found

    def call(self, arguments, document):
        return arguments

    def proposals(self, document):
        return iter(self.found)


class Silent(Tool):
    name, version, description = "Silent", "1", "Proposes nothing."

    def call(self, arguments, document):
        return arguments


def test_proposals_come_by_offset():
    tool = Proposing(Proposal(3), Proposal(0, "a"), Proposal(3, "b"))
    expected = [Proposal(0, "a"), Proposal(3), Proposal(3, "b")]
    assert proposals_of(tool, Document("d", "text")) == expected


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (Proposal(4), ".*offset=4.* in the document 'd-1' of 4 characters"),
        (Proposal(-1), ".*offset=-1"),
        (Proposal(True), ".*offset=True"),
        (Proposal(1.0), ".*offset=1.0"),  # pyright: ignore[reportArgumentType]
        (Proposal(1, 5), ".*arguments=5"),  # pyright: ignore[reportArgumentType]
        ((1, None), r"\(1, None\)"),
    ],
)
def test_what_is_wrong_names_tool_document_and_value(wrong, said):
    with pytest.raises(ToolBugError, match=f"The tool Proposing proposes {said}"):
        proposals_of(Proposing(wrong), Document("d-1", "text"))


def test_no_more_places_are_taken_than_a_text_has_characters():
    endless = Proposing()
    endless.found = itertools.repeat(Proposal(0))
    with pytest.raises(ToolBugError, match="proposes more than 4 places in the document 'd-1'"):
        proposals_of(endless, Document("d-1", "text"))


def test_an_empty_text_has_no_place():
    with pytest.raises(ToolBugError, match="of 0 characters"):
        proposals_of(Proposing(Proposal(0)), Document("d", ""))


def test_a_tool_makes_proposals_where_it_has_the_method():
    assert Proposing().makes_proposals
    assert not Silent().makes_proposals
    assert Silent().proposals(Document("d", "text")) == ()
    assert create_tool("Calendar").makes_proposals
