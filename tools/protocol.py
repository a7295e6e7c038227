"""What passes between tools and everything that uses them: calls, texts, results, proposals."""

import datetime
from dataclasses import dataclass

# In place of a result where a tool gave no answer, such as in time: another call has none either.
NO_ANSWER = ""


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
    """What a tool may know about the text that a call stands in.

    Attributes:
        document_id: Stable key of the text.
        title: Title, where the source has one; WikiSearch does not answer with the same article.
        published_on: Publication date given by the source; while decoding, the presumed date.
    """

    document_id: str
    text: str
    url: str | None = None
    title: str | None = None
    published_on: datetime.date | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What became of one call.

    Attributes:
        result: What the tool gave; None where it failed. `execute_calls` makes of it one line
            that is free of call markers.
        reason: Short snake_case word for why there is no result; None where there is one.
        seconds: Time of the call; an equal share of its batch's.
        is_lasting: Whether the same call would come to the same again: a result, or a refusal of
            the tool's own, and not a timeout or a crash.
        from_cache: Whether it was found in a cache instead of computed.
        message: What the tool said of a call that it refused; None where it did not.
    """

    result: str | None
    reason: str | None
    seconds: float
    is_lasting: bool = True
    from_cache: bool = False
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Preselection:
    """Whether a text is worth annotating with a tool, and why (paper, appendix A).

    The reason is a short snake_case word, present in both cases.
    """

    is_selected: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """A place in a text where a call may help, and perhaps the call (`sampling.proposals`).

    Attributes:
        offset: Character of the text, from 0, that the call stands in front of: the first of what
            it helps to predict. A blank before a word stays between call and word.
        arguments: What the call is given, as text; None where only the place is proposed.
    """

    offset: int
    arguments: str | None = None


# Characters that are kept of an answer: a tool may give a hundred megabytes, and results are cut
# far below.
LONGEST_ANSWER = 20_000
# The same of what a tool says of a call that it refuses.
LONGEST_MESSAGE = 2_000
