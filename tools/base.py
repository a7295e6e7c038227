"""The base class of tools."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib.resources.abc import Traversable
from itertools import islice
from typing import Any, ParamSpec

from pydantic import ConfigDict, ValidationError, validate_call

from tools.errors import CallSyntaxError, ToolBugError, ToolCallError, ToolSettingsError
from tools.protocol import Document, Preselection, Proposal
from tools.syntax import check_arguments


class Tool(ABC):
    """A tool: text in, text out (paper, section 3).

    A subclass sets `name`, `version` and `description`, as attributes or properties, and implements
    `call`. Everything else has a default.

    Attributes:
        name: The name in calls.
        version: Text that changes whenever answers change, for instance with a setting. It is part
            of every fingerprint: answers are stored and used again while it stays the same.
        description: One sentence for people.
        takes_arguments: Whether a call may have text between its brackets.
        arguments_are_content: Whether numbers and names in arguments come from the text, so that a
            call must not use those that only occur after it. False if they are a choice, such as
            the unit to convert to. Change `version` too if you change it.
        prompt: The few-shot prompt or its file; None for a file in `tools/prompts`.
        needs_network: Whether answers come from another machine.
        sampling_version: Version of `preselect`, `parse_arguments` and `check_place`; None for
            `version`. While it stays the same, calls are made again but not sampled again.
        proposals_version: Version of `proposals`; None for `version`.
        argument_schema: JSON schema of the arguments; None if a call takes one text.
        left_out: Names in the schema that no call can set.
        calls_per_batch: Most calls that `call_batch` gets at once. Answers are stored per batch.
        computes: Whether a call computes for seconds, as with a model. Its deadline is ten times as
            long, so that a busy machine does not change its outcome.
        start_seconds: Time to start what answers a call, on top of the call's deadline.
    """

    name: str
    version: str
    description: str
    takes_arguments: bool = True
    arguments_are_content: bool = True
    prompt: str | Traversable | None = None
    needs_network: bool = False
    sampling_version: str | None = None
    proposals_version: str | None = None
    argument_schema: Mapping[str, Any] | None = None
    left_out: Sequence[str] = ()
    calls_per_batch: int = 256
    computes: bool = False
    start_seconds: float = 0.0

    @property
    def makes_proposals(self) -> bool:
        """Whether the class overrides `proposals`."""
        return type(self).proposals is not Tool.proposals

    @property
    def has_batches(self) -> bool:
        """Whether the class overrides `call_batch`."""
        return type(self).call_batch is not Tool.call_batch

    @abstractmethod
    def call(self, arguments: str, document: Document) -> str:
        """Answer one call.

        Args:
            arguments: What `parse_arguments` returned.
            document: The text that the call is in.

        Raises:
            ToolCallError: If there is no answer.
        """

    def call_batch(self, requests: Sequence[tuple[str, Document]]) -> list[str | ToolCallError]:
        """Answer several calls; override it if that is faster than one after the other."""
        answers: list[str | ToolCallError] = []
        for arguments, document in requests:
            try:
                answers.append(self.call(arguments, document))
            except ToolCallError as error:
                answers.append(error)
        return answers

    def parse_arguments(self, text: str) -> str:
        """Normalise what a model wrote between the brackets; by default its white space.

        Raises:
            CallSyntaxError: If it is no call of this tool.
        """
        arguments = " ".join(text.split())
        if not arguments:
            raise CallSyntaxError(
                "empty_arguments",
                f"A call of {self.name} has no arguments. Expected text between the brackets, "
                f"as in {self.name}(…).",
            )
        check_arguments(arguments)
        return arguments

    def named_arguments(self, arguments: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Return the values of a call by name, for a tool with an `argument_schema`."""
        return {}

    def check_available(self) -> None:  # noqa: B027
        """Raise ToolUnavailableError if something is missing here, without loading anything."""

    def prepare(self) -> None:  # noqa: B027
        """Load what takes longer than a call may. Called before the first call, perhaps again."""

    def preselect(self, document: Document) -> Preselection:  # noqa: ARG002
        """Return whether a text is worth annotating with this tool (paper, appendix A)."""
        return Preselection(is_selected=True, reason="every_text")

    def proposals(self, document: Document) -> Sequence[Proposal]:  # noqa: ARG002
        """Return places where a call may help, in any order.

        Without any, the model's probabilities choose the places, as in the paper.
        """
        return ()

    def check_place(self, arguments: str, *, before: str, after: str) -> None:  # noqa: B027
        """Refuse a call that could not be written at its place while decoding.

        A sampling model sees the whole text, a decoding one only `before`. A tool whose arguments
        may be copied from `after` refuses them here.

        Raises:
            CallSyntaxError: If the call needs text that comes after it.
        """

    def cache_key(self, document: Document) -> tuple[str, ...] | None:
        """Return what an answer depends on besides name, version and arguments.

        By default that is the text's publication date. None if answers must not be stored.
        """
        return (str(document.published_on or ""),)


DESCRIBED = (
    *(attribute for attribute in Tool.__annotations__ if attribute != "start_seconds"),
    "makes_proposals",
    "has_batches",
)
"""Names of the attributes that are the same wherever the tool runs."""

_P = ParamSpec("_P")


def with_checked_settings(constructor: Callable[_P, None]) -> Callable[_P, None]:
    """Have pydantic check a constructor's arguments strictly, by their annotations."""
    config = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)
    validated = validate_call(config=config)(constructor)

    @functools.wraps(constructor)
    def checked(*args: _P.args, **settings: _P.kwargs) -> None:
        try:
            validated(*args, **settings)
        except ValidationError as error:
            problem = error.errors()[0]
            name = settings.get("name") or getattr(args[0], "name", "")
            expected = problem["msg"].replace("Input should be", "Expected it to be")
            raise ToolSettingsError(
                f"{name}: {problem['loc'][0]} is {problem['input']!r}. {expected}."
            ) from error

    return checked


def proposals_of(tool: Tool, document: Document) -> list[Proposal]:
    """Return a tool's proposals for a text by offset, those of one offset in the tool's order.

    Raises:
        ToolBugError: If one is no Proposal in the text, or there are more than characters.
    """
    length = len(document.text)
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
