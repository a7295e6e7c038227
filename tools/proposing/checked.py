"""What a tool proposes in a text, checked. Does not know any rule."""

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
    most = len(document.text)
    found = list(islice(tool.proposals(document), most + 1))
    for each in found:
        if not isinstance(each, Proposal):
            raise _wrong(tool, document, f"{each!r}", "instances of tools.protocol.Proposal")
        if type(each.offset) is not int or not 0 <= each.offset < len(document.text):
            raise _wrong(
                tool,
                document,
                f"the offset {each.offset!r}",
                f"0 to {len(document.text) - 1}: offsets count characters of the text, and name "
                "the one that a call stands in front of"
                if document.text
                else "no proposal in an empty text",
            )
        if each.arguments is not None and not isinstance(each.arguments, str):
            raise _wrong(tool, document, f"the arguments {each.arguments!r}", "text, or None")
    if len(found) > most:
        raise _wrong(
            tool, document, f"more than {most} places", "at most one for each character of the text"
        )
    return sorted(found, key=lambda each: each.offset)


def _wrong(tool: Tool, document: Document, what: str, expected: str) -> ToolBugError:
    return ToolBugError(
        f"{tool.name}.proposals",
        f"The tool {tool.name} proposes {what} in the document {document.document_id!r}. Expected "
        f"{expected}. Correct its method `proposals`.",
    )
