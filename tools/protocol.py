"""What a tool is: the interface between tools and everything that uses them.

Does not implement any tool and imports nothing but the errors; `tools.base` has the defaults.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any, Literal, Protocol

from tools.errors import ToolCallError


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call c = (a_c, i_c): the name of a tool and its input (paper, section 2).

    Attributes:
        tool_name: The tool, as written in calls.
        arguments: The text between the brackets, without enclosing quotes.
    """

    tool_name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Document:
    """What a tool may know about the text that a call stands in.

    Attributes:
        document_id: Stable key of the text.
        text: The whole text.
        url: Where the text was found.
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
        status: Whether there is a result.
        result: One line of text free of call markers; None when the call failed.
        reason: Short snake_case word for why there is no result; None when there is one.
        duration_ms: Time of the call in milliseconds.
        from_cache: Whether the result was found in a cache instead of computed.
        message: What the tool said of a call that it refused; None where it did not.
    """

    status: Literal["executed", "failed"]
    result: str | None
    reason: str | None
    duration_ms: float
    from_cache: bool = False
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Preselection:
    """Whether a text is worth annotating with a tool, and why (paper, appendix A).

    Attributes:
        is_selected: Whether calls are sampled for the text.
        reason: Short snake_case word, present in both cases.
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


class Tool(Protocol):
    """A tool: text in, text out (paper, section 3).

    The first seven are read only, so that a tool may work them out or hold them as attributes.
    """

    @property
    def name(self) -> str:
        """The tool as written in calls."""
        ...

    @property
    def version(self) -> str:
        """Part of every fingerprint; changes whenever results change, with settings too."""
        ...

    @property
    def description(self) -> str:
        """One sentence for people."""
        ...

    @property
    def takes_arguments(self) -> bool:
        """Whether anything can stand between the brackets of a call."""
        ...

    @property
    def prompt(self) -> str | Traversable | None:
        """The few-shot prompt or its file; None for a file of this package, if there is one."""
        ...

    @property
    def needs_network(self) -> bool:
        """Whether answering takes more than this machine."""
        ...

    @property
    def makes_proposals(self) -> bool:
        """Whether it has a rule of its own for places of its calls."""
        ...

    def parse_arguments(self, text: str) -> str:
        """Return the normalised arguments; raise CallSyntaxError when they are no call."""
        ...

    def prepare(self) -> None:
        """Load what calls need; no deadline runs. Called before calls, any number of times."""
        ...

    def call(self, arguments: str, document: Document) -> str:
        """Return the answer; raise ToolCallError when there is none."""
        ...

    def call_batch(self, requests: Sequence[tuple[str, Document]]) -> list[str | ToolCallError]:
        """Answer several calls, in order; a call without an answer gives its error."""
        ...

    def preselect(self, document: Document) -> Preselection:
        """Decide whether the text is worth annotating with this tool."""
        ...

    def proposals(self, document: Document) -> Sequence[Proposal]:
        """Return the places where calls may help, of a text that was preselected."""
        ...

    def check_place(self, arguments: str, *, before: str, after: str) -> None:
        """Raise CallSyntaxError when a call could not be written at its place in a text."""
        ...

    def cache_key(self, document: Document) -> tuple[str, ...] | None:
        """What an answer depends on besides name, version and arguments; None: never keep it."""
        ...

    def check_available(self) -> None:
        """Raise ToolUnavailableError when the tool cannot run, before anything expensive."""
        ...


# Characters that are kept of an answer: a tool may give a hundred megabytes, and results are cut
# far below.
LONGEST_ANSWER = 20_000
# The same of what a tool says of a call that it refuses.
LONGEST_MESSAGE = 2_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one call.

    Attributes:
        answer: What the tool gave; None where it failed.
        reason: Short snake_case word for why there is no answer; None where there is one.
        seconds: Time of the call; an equal share of its batch's.
        is_lasting: Whether the same call would come to the same again: an answer, or a refusal of
            the tool's own, and not a timeout or a crash.
        from_cache: Whether it was found in a cache instead of computed.
        message: What the tool said of a call that it refused; None where it did not.
    """

    answer: Any
    reason: str | None
    seconds: float
    is_lasting: bool = True
    from_cache: bool = False
    message: str | None = None
