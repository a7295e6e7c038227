"""Checks what a tool proposes in a text."""

from itertools import islice

from tools.base import Tool
from tools.errors import ToolBugError
from tools.protocol import Document, Proposal


def proposals_of(tool: Tool, document: Document) -> list[Proposal]:
    """Ask a tool for the places of its calls in a text.

    Returns:
        The proposals by their offsets, those of one offset in the tool's order.

    Raises:
        ToolBugError: When one is no proposal, or lies outside the text, or when there are more than
            the text has characters.
    """
    length = len(document.text)
    # One more than can be right.
    proposals = list(islice(tool.proposals(document), length + 1))
    wrong = [proposal for proposal in proposals if not _is_in_text(proposal, length)]
    if wrong or len(proposals) > length:
        proposed = repr(wrong[0]) if wrong else f"more than {length} places"
        raise ToolBugError(
            f"{tool.name}.proposals",
            f"The tool {tool.name} proposes {proposed} in the document {document.document_id!r} of "
            f"{length} characters. Expected instances of tools.protocol.Proposal, at most one for "
            "each character: the offset, from 0, is that of the character that a call stands in "
            "front of; the arguments are text, or None. Correct its method `proposals`.",
        )
    return sorted(proposals, key=lambda proposal: proposal.offset)


def _is_in_text(proposal: object, length: int) -> bool:
    return (
        isinstance(proposal, Proposal)
        and type(proposal.offset) is int
        and 0 <= proposal.offset < length
        and (proposal.arguments is None or isinstance(proposal.arguments, str))
    )
