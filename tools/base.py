"""Defines the base class of tools, and checks of their settings and proposals."""

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
    """Base class of tools: text in, text out (paper, §3).

    Subclasses set `name`, `version` and `description` and implement `call`.

    Attributes:
        version: Changes whenever answers change: stored answers are reused while it stays the same.
        arguments_come_from_text: Whether names and numbers in arguments come from the text. Calls
            are then refused if the text contains them only after the call. A change needs a new
            `version`.
        prompt: Few-shot prompt or its file; None for the tool's file in `tools/prompts`.
        sampling_version: Version of `preselect`, `parse_arguments` and `check_position`; None to
            use `version`. While it stays the same, calls are executed again but not sampled again.
        proposals_version: Version of `proposals`; None to use `version`.
        argument_schema: JSON schema of the arguments; None if a call takes one text.
        omitted_arguments: Arguments in the schema that calls cannot set.
        is_compute_bound: Whether a call takes seconds of computation. Its deadline is then ten
            times as long, so that load on the machine does not change outcomes.
        start_seconds: Seconds added to the deadline of a call, in case a server must start first.
    """

    name: str
    version: str
    description: str
    takes_arguments: bool = True
    arguments_come_from_text: bool = True
    prompt: str | Traversable | None = None
    needs_network: bool = False
    sampling_version: str | None = None
    proposals_version: str | None = None
    argument_schema: Mapping[str, Any] | None = None
    omitted_arguments: Sequence[str] = ()
    calls_per_batch: int = 256
    is_compute_bound: bool = False
    start_seconds: float = 0.0

    @property
    def makes_proposals(self) -> bool:
        return type(self).proposals is not Tool.proposals

    @property
    def supports_batches(self) -> bool:
        return type(self).call_batch is not Tool.call_batch

    @abstractmethod
    def call(self, arguments: str, document: Document) -> str:
        """Answer a call with parsed arguments; raise ToolCallError if there is no answer."""

    def call_batch(self, requests: Sequence[tuple[str, Document]]) -> list[str | ToolCallError]:
        """Answer several calls in order. Override it if a batch is faster than single calls."""
        answers: list[str | ToolCallError] = []
        for arguments, document in requests:
            try:
                answers.append(self.call(arguments, document))
            except ToolCallError as error:
                answers.append(error)
        return answers

    def parse_arguments(self, text: str) -> str:
        """Normalise the text between the brackets; raise CallSyntaxError if the call is invalid."""
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
        """Return the arguments of a call by name, if the tool has an `argument_schema`."""
        return {}

    def check_available(self) -> None:  # noqa: B027
        """Raise ToolUnavailableError if something is missing, without loading anything."""

    def prepare(self) -> None:  # noqa: B027
        """Load whatever takes longer than a deadline; called before the first call, maybe again."""

    def preselect(self, document: Document) -> Preselection:  # noqa: ARG002
        """Return whether a text is worth annotating with this tool (paper, appendix A)."""
        return Preselection(is_selected=True, reason="every_text")

    def proposals(self, document: Document) -> Sequence[Proposal]:  # noqa: ARG002
        """Return positions where a call may help, in any order; by default, the model chooses."""
        return ()

    def check_position(self, arguments: str, *, before: str, after: str) -> None:  # noqa: B027
        """Raise CallSyntaxError if a call needs text that only appears after it."""

    def cache_key(self, document: Document) -> tuple[str, ...] | None:
        """Return what answers depend on besides version and arguments; None forbids caching."""
        return (str(document.published_on or ""),)


DESCRIBED_ATTRIBUTES = (
    *(attribute for attribute in Tool.__annotations__ if attribute != "start_seconds"),
    "makes_proposals",
    "supports_batches",
)
"""Names of the attributes that have the same value in every process and may be copied."""

_P = ParamSpec("_P")


def with_checked_settings(constructor: Callable[_P, None]) -> Callable[_P, None]:
    """Raise ToolSettingsError if a constructor's arguments do not match their annotations."""
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
    """Return a tool's proposals by offset; raise ToolBugError if they do not fit the text."""
    length = len(document.text)
    proposals = list(islice(tool.proposals(document), length + 1))
    wrong = [proposal for proposal in proposals if not _is_in_text(proposal, length)]
    if wrong or len(proposals) > length:
        proposed = repr(wrong[0]) if wrong else f"more than {length} positions"
        raise ToolBugError(
            f"{tool.name}.proposals",
            f"The tool {tool.name} proposes {proposed} in the document {document.document_id!r} of "
            f"{length} characters. Expected at most one tools.protocol.Proposal per character, "
            "with the offset (from 0) of the character after the call, and with arguments that "
            "are text or None. Correct the tool's method `proposals`.",
        )
    return sorted(proposals, key=lambda proposal: proposal.offset)


def _is_in_text(proposal: object, length: int) -> bool:
    return (
        isinstance(proposal, Proposal)
        and type(proposal.offset) is int
        and 0 <= proposal.offset < length
        and (proposal.arguments is None or isinstance(proposal.arguments, str))
    )
