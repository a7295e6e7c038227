"""The values that pass between tools and the code that uses them."""

import datetime
from dataclasses import dataclass

# In place of a result if a tool did not answer, for instance in time; a second attempt will not
# either.
NO_ANSWER = ""
# Characters of an answer, and of the message of a refused call, that are kept. A tool may give a
# hundred megabytes, and results are cut far below.
LONGEST_ANSWER, LONGEST_MESSAGE = 20_000, 2_000


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call c = (a_c, i_c): the name of a tool and its input (paper, section 2).

    Attributes:
        arguments: The text between the brackets, without enclosing quotes.
    """

    tool_name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Document:
    """The text that a call is in, as far as tools may know it.

    Attributes:
        document_id: Stable key of the text.
        title: Title given by the source; WikiSearch does not answer from the article of this title.
        published_on: Publication date given by the source; while decoding, the presumed date.
    """

    document_id: str
    text: str
    url: str | None = None
    title: str | None = None
    published_on: datetime.date | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The outcome of one call.

    Attributes:
        result: The tool's answer; None if it failed. `execute_calls` makes it one line without
            call markers.
        reason: Short snake_case word for why there is no result; None if there is one.
        seconds: Time of the call, or its equal share of a batch.
        is_lasting: Whether the same call would have the same outcome: true for results and for the
            tool's own refusals, false for timeouts and crashes.
        from_cache: Whether the outcome comes from a cache.
        message: The tool's explanation of a refusal.
    """

    result: str | None
    reason: str | None
    seconds: float
    is_lasting: bool = True
    from_cache: bool = False
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Preselection:
    """Whether a text is worth annotating with a tool (paper, appendix A).

    Attributes:
        reason: Short snake_case word, in both cases.
    """

    is_selected: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """A place in a text where a call may help (`sampling.proposals`).

    Attributes:
        offset: Index of the character before which the call is inserted: the first one that it
            helps to predict. A blank before a word stays between call and word.
        arguments: Arguments of the call; None if only the place is proposed.
    """

    offset: int
    arguments: str | None = None
