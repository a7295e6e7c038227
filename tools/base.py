"""What a tool is: its methods, with the defaults that most tools share."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib.resources.abc import Traversable
from typing import Any, ParamSpec

from pydantic import ConfigDict, ValidationError, validate_call

from tools.errors import CallSyntaxError, ToolCallError, ToolSettingsError
from tools.protocol import Document, Preselection, Proposal
from tools.syntax import check_arguments


class Tool(ABC):
    """A tool: text in, text out (paper, section 3).

    Subclasses set the first three attributes, or have properties of these names, and implement
    `call`. The rest is that of a tool that answers one call at a time, is always available and
    takes every text.

    Attributes:
        name: As written in calls.
        version: Part of every fingerprint. It names every setting on which results depend, so that
            a tool with other settings has another version.
        description: One sentence for people.
        takes_arguments: Whether anything can stand between the brackets of a call.
        arguments_are_content: Whether numbers and names in arguments come from the text, so that
            those that stand only behind a call could not be known; False where they are a choice,
            such as the unit that a tool converts to. A change of it needs another `version`.
        prompt: The few-shot prompt, or its file; None where it lies in `tools/prompts`.
        needs_network: Whether answering takes more than this machine.
        sampling_version: What `preselect`, `parse_arguments` and `check_place` depend on: where it
            stays, calls are made again and not sampled again. None for the version.
        proposals_version: What `proposals` depend on; None for the version.
        argument_schema: JSON schema of the arguments by name; None where a call has one text.
        left_out: Those of its names that no call can give.
        calls_per_batch: Most calls that `call_batch` gets; what a batch has, is kept.
        computes: Whether a call computes for seconds, as with a model; it may take ten times as
            long as others, so that its answer does not depend on how busy the machine is.
        start_seconds: How much longer than its deadline a call may take because what answers it has
            to be started.
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
        """Whether the class has `proposals` of its own."""
        return type(self).proposals is not Tool.proposals

    @property
    def has_batches(self) -> bool:
        """Whether the class answers several calls at once by a `call_batch` of its own."""
        return type(self).call_batch is not Tool.call_batch

    def parse_arguments(self, text: str) -> str:
        """Collapse white space and refuse what cannot stand inside a call.

        Raises:
            CallSyntaxError: With reason `empty_arguments`, `arrow_in_arguments` or
                `bracket_in_arguments`.
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
        """Give nothing: a tool with an `argument_schema` gives the values of a call by name."""
        return {}

    def prepare(self) -> None:  # noqa: B027
        """Do nothing: the tool loads nothing that takes longer than a call may.

        Called before the first call and perhaps again; what is loaded then must not be loaded
        twice.
        """

    @abstractmethod
    def call(self, arguments: str, document: Document) -> str:
        """Answer one call; its arguments are normalised by `parse_arguments`."""

    def call_batch(self, requests: Sequence[tuple[str, Document]]) -> list[str | ToolCallError]:
        """Answer several calls one after the other."""
        answers: list[str | ToolCallError] = []
        for arguments, document in requests:
            try:
                answers.append(self.call(arguments, document))
            except ToolCallError as error:
                answers.append(error)
        return answers

    def preselect(self, document: Document) -> Preselection:  # noqa: ARG002
        """Take every text, as the paper does for tools without a heuristic."""
        return Preselection(is_selected=True, reason="every_text")

    def proposals(self, document: Document) -> Sequence[Proposal]:  # noqa: ARG002
        """Propose nothing: the model's probabilities choose the places, as in the paper.

        Returns:
            Places inside the text, in any order.
        """
        return ()

    def check_place(self, arguments: str, *, before: str, after: str) -> None:  # noqa: B027
        """Take a call wherever it stands.

        A sampling model sees the whole text, a decoding one only what stands before the call: a
        tool whose arguments could be copied from behind refuses them here.

        Raises:
            CallSyntaxError: When the call could not be written at this place.
        """

    def cache_key(self, document: Document) -> tuple[str, ...] | None:
        """The publication date of the text: an answer may depend on it, and on nothing else of it.

        Returns:
            What an answer depends on besides name, version and arguments; None for a tool whose
            answers must not be kept.
        """
        return (str(document.published_on or ""),)

    def check_available(self) -> None:  # noqa: B027
        """Do nothing: the tool needs nothing that could be missing."""


DESCRIBED = (
    *(attribute for attribute in Tool.__annotations__ if attribute != "start_seconds"),
    "makes_proposals",
    "has_batches",
)
"""What a tool says of itself: its attributes that hold wherever it runs."""

_P = ParamSpec("_P")


def with_checked_settings(constructor: Callable[_P, None]) -> Callable[_P, None]:
    """Have pydantic check what a tool's constructor is given, by its annotations.

    Nothing is converted but whole numbers to floats.
    """
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
