"""A tool whose answers were frozen: it says what the tool said, and is never asked itself.

Stands in for the tool with its version, so that what is made with it has the fingerprints that it
had. Answers nothing that was not asked then. Before a call, a typed tool is known by its
parameters; what another one reads, chooses and proposes, its own code says, which is opened for
that alone.
"""

from collections.abc import Callable, Sequence
from functools import cached_property

from tools.base import BaseTool
from tools.errors import (
    FrozenAnswersError,
    MissingAnswerError,
    ToolCallError,
    ToolError,
    ToolUnavailableError,
)
from tools.protocol import Document, Preselection, Proposal, Tool
from tools.running.frozen_answers import (
    AnsweredPlace,
    FrozenAnswer,
    FrozenAnswers,
    FrozenRecord,
    document_digest,
)
from tools.yours.frozen_parameters import thawed_parameters
from tools.yours.typed_arguments import read_arguments, write_arguments


class FrozenTool(BaseTool):
    """What is left of a tool: its answers, and what a run asks besides; see `tools.protocol.Tool`.

    Args:
        record: What the file says of the tool.
        answers: The file.
        open_original: Makes the tool itself, which need not be able to answer; only what it does
            before a call is asked of it.
        while_decoding: Whether a model calls it, and not a build.

    Raises:
        FrozenAnswersError: The record is not as it was written.
    """

    def __init__(
        self,
        record: FrozenRecord,
        answers: FrozenAnswers,
        *,
        open_original: Callable[[], Tool],
        while_decoding: bool = False,
    ) -> None:
        self.name = record.name
        self.version = record.version_while_decoding if while_decoding else record.version
        self.sampling_version = record.sampling_version
        self.proposals_version = record.proposals_version
        self.description = record.description
        self.takes_arguments = record.takes_arguments
        self.prompt = record.prompt
        self._record = record
        self._answers = answers
        self._open_original = open_original
        try:
            self._parameters = (
                None if record.parameters is None else thawed_parameters(record.parameters)
            )
        except (TypeError, KeyError) as error:
            raise FrozenAnswersError(
                f"'{answers.file}' has parameters of {record.name} that cannot be read ({error}). "
                "Expected a file as `toolformer tools freeze` writes it; freeze again."
            ) from error

    @property
    def makes_proposals(self) -> bool:
        """Whether the tool has a rule of its own for places of its calls."""
        return self._record.makes_proposals

    def recorded(self, calls: Sequence[tuple[str, Document, int]]) -> list[FrozenAnswer]:
        """What became of calls of a build, when they were made.

        Args:
            calls: Of each the arguments, its text, and the character of the text that it stands at.

        Returns:
            One answer per call, cut and checked for leaks as it was then.

        Raises:
            MissingAnswerError: The file lacks one.
            FrozenAnswersError: The file is damaged.
        """
        found, digests = self._find([document for _, document, _ in calls])
        places = [(arguments, digests[document], offset) for arguments, document, offset in calls]
        missing = [place for place, key in enumerate(places) if key not in found]
        if missing:
            arguments, document, _ = calls[missing[0]]
            raise self._missing(arguments, document, count=len(missing))
        return [found[key] for key in places]

    def call(self, arguments: str, document: Document) -> str:
        """Say what the tool said; see `call_batch`."""
        (answer,) = self.call_batch([(arguments, document)])
        if isinstance(answer, ToolCallError):
            raise answer
        return answer

    def call_batch(self, requests: Sequence[tuple[str, Document]]) -> list[str | ToolCallError]:
        """Say what the tool said to the same arguments in the same text, wherever they stood.

        Args:
            requests: Pairs of normalised arguments and the text of the call.

        Returns:
            The results in order, the error of a call that had none.

        Raises:
            MissingAnswerError: The file lacks one.
            FrozenAnswersError: The file is damaged.
        """
        found, digests = self._find([document for _, document in requests])
        anywhere: dict[tuple[str, str], FrozenAnswer] = {}
        for (arguments, digest, _), answer in found.items():
            # Whether a result is a leak, its place says; what it was, the file does not.
            if not answer.is_leak and (answer.result or (arguments, digest) not in anywhere):
                anywhere[arguments, digest] = answer
        answers: list[str | ToolCallError] = []
        for arguments, document in requests:
            answer = anywhere.get((arguments, digests[document]))
            if answer is None:
                raise self._missing(arguments, document)
            answers.append(_as_given(answer))
        return answers

    def parse_arguments(self, text: str) -> str:
        """Normalise arguments, by the frozen parameters or by the tool's own code."""
        if self._parameters is None:
            return self._original.parse_arguments(text)
        return write_arguments(read_arguments(text, self._parameters), self._parameters)

    def preselect(self, document: Document) -> Preselection:
        """Decide whether the text is worth annotating, as the tool does."""
        if self._parameters is None:
            return self._original.preselect(document)
        return super().preselect(document)

    def proposals(self, document: Document) -> Sequence[Proposal]:
        """Return the places that the tool proposes."""
        if self._parameters is None:
            return self._original.proposals(document)
        return super().proposals(document)

    def check_place(self, arguments: str, *, before: str, after: str) -> None:
        """Refuse a call that could not be written where it stands, as the tool does."""
        if self._parameters is None:
            self._original.check_place(arguments, before=before, after=after)

    def cache_key(self, document: Document) -> tuple[str, ...] | None:  # noqa: ARG002
        """Keep nothing: the file does."""
        return None

    @cached_property
    def _original(self) -> Tool:
        """The tool itself, for what it does before it is called.

        Raises:
            ToolUnavailableError: It cannot be made, or is not the one that was frozen.
        """
        try:
            original = self._open_original()
            has_own = hasattr(original, "sampling_version")
            version = original.sampling_version if has_own else original.version  # pyright: ignore[reportAttributeAccessIssue]
        except ToolError as error:
            raise ToolUnavailableError(
                self.name,
                f"'{self._answers.file}' has its answers, but what is a call its own code says, "
                f"which cannot be asked ({str(error).rstrip('.')})",
                "Calls that are sampled already are replayed without it; to sample calls, give it "
                "its code back",
            ) from error
        if version != self.sampling_version:
            raise ToolUnavailableError(
                self.name,
                f"it samples calls by another rule ({version!r}) than when its answers were frozen "
                f"({self.sampling_version!r})",
                f"Take the version of its code that '{self._answers.file}' was made with, or "
                "freeze a build of the new one",
            )
        return original

    def _find(
        self, documents: Sequence[Document]
    ) -> tuple[dict[AnsweredPlace, FrozenAnswer], dict[Document, str]]:
        digests = {document: document_digest(document) for document in documents}
        # What was said under another version, as to the Calendar while decoding, is no answer.
        if self.version != self._record.version:
            return {}, digests
        return self._answers.find(self._record, set(digests.values())), digests

    def _missing(self, arguments: str, document: Document, *, count: int = 1) -> MissingAnswerError:
        more = f", nor to {count - 1} other calls" if count > 1 else ""
        return MissingAnswerError(
            self.name,
            f"'{self._answers.file}' has none to {self.name}({arguments}) in the text that begins "
            f"{document.text[:40]!r}{more}, and in a replay no tool is asked",
            "Replay the build that was frozen, with its texts, model and settings; or take "
            "execution.replay out of the settings, so that the tool is asked",
        )


def _as_given(answer: FrozenAnswer) -> str | ToolCallError:
    if answer.result is not None:
        return answer.result
    reason = answer.reason or ""
    return ToolCallError(reason, f"There was no answer when it was frozen: {reason}.")
