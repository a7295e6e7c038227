"""Defines the values that tools exchange with the code that uses them."""

import datetime
from dataclasses import dataclass

# Result of a call that the tool did not answer, for instance because of a timeout. Another
# attempt at the call would get no answer either.
NO_ANSWER = ""
# Maximum characters of an answer and of a message, since a tool may return a hundred megabytes.
# Results are cut to far fewer later.
LONGEST_ANSWER, LONGEST_MESSAGE = 20_000, 2_000


@dataclass(frozen=True, slots=True)
class ToolCall:
    """Call c = (a_c, i_c): the name of a tool and its input, without quotes (paper, §2)."""

    tool_name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Document:
    """Text that contains a call, with the metadata that tools may use.

    `published_on` is given by the source; while decoding, it is the presumed date.
    """

    document_id: str
    text: str
    url: str | None = None
    title: str | None = None
    published_on: datetime.date | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """Outcome of one call.

    Attributes:
        result: The tool's answer, as one line without call markers; None if the call failed.
        reason: Reason for the failure in snake_case; None if there is a result.
        seconds: Duration of the call, or its equal share of a batch.
        is_permanent: Whether the same call would have the same outcome; false after timeouts and
            crashes.
        message: The tool's explanation of a refusal.
    """

    result: str | None
    reason: str | None
    seconds: float
    is_permanent: bool = True
    from_cache: bool = False
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Preselection:
    """Decision whether to annotate a text with a tool, with a snake_case reason either way."""

    is_selected: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """Position in a text where a call may help (`sampling.proposals`).

    The call is inserted before the character at `offset`, so that a space before a word stays
    between call and word. If `arguments` is None, only the position is proposed.
    """

    offset: int
    arguments: str | None = None
