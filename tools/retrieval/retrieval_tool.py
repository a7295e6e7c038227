"""Tools that answer from passages: look up, pass over the text's own, read.

    look up    query                -> ranked passages       the same for every text
    select     query, passages,     -> other passages        what the text itself holds is no answer
               document
    read       query, passages      -> answer

The first and the last step may be expensive and are cached; the second is done for each text.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

from tools.base import Tool
from tools.errors import CallSyntaxError, ToolCallError
from tools.protocol import Document, ToolResult
from tools.retrieval.passages import StoredPassage
from tools.syntax import single_line, strip_quotes

LONGEST_QUERY = 300  # characters; a longer one is no query but a copied text

# Runs one step, equal inputs once: its name, the inputs, whether outcomes are worth keeping, and
# the step itself, which takes several inputs and gives an answer or an error for each.
StepRunner: TypeAlias = Callable[
    [str, list[Any], bool, Callable[[list[Any]], list[Any]]], list[ToolResult]
]


class Retriever(Protocol):
    """Finds passages for a question."""

    def version(self) -> str:
        """Everything that rankings depend on, the fingerprint of the index included."""
        ...

    def check_available(self) -> None:
        """Raise ToolUnavailableError when it cannot run, by looking at files only."""
        ...

    def rank(self, queries: Sequence[str], depth: int) -> list[list[StoredPassage]]:
        """Rank passages for each query, at most `depth`, best first.

        Scores are natural logarithms of how probable each passage is, up to a constant of the
        ranking: a reader weighs the passages by them. A ranking depends on its own query alone.
        """
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reader found.

    Attributes:
        probability: How sure the reader is, 0 to 1.
    """

    text: str
    probability: float


class Reader(Protocol):
    """Answers a question from passages."""

    def version(self) -> str:
        """Everything that answers depend on, the identity of the model included."""
        ...

    def prepare(self) -> None:
        """Load its model, unless that was done."""
        ...

    def read(self, requests: Sequence[tuple[str, Sequence[StoredPassage]]]) -> list[Answer | None]:
        """Answer questions, each from its own passages alone; None where these hold no answer.

        Each has at least one passage.

        Loads its model at the first request, where `prepare` was not called, and not before.
        """
        ...


class RetrievalTool(Tool):
    """A tool in the three steps above. Subclasses give `look_up`, `select` and `read`.

    Attributes:
        keeps_readings: Whether reading costs enough to keep its answers.
        readings_per_batch: Most requests that are read together: what a batch has, is kept.
    """

    # Which queries can be asked depends on no setting.
    sampling_version = "1"
    proposals_version = "1"
    keeps_readings: bool = True
    readings_per_batch: int = 256

    def parse_arguments(self, text: str) -> str:
        """Normalise a query: quotes, control characters and white space.

        Raises:
            CallSyntaxError: As `Tool.parse_arguments`, and with reason `too_long`.
        """
        query = super().parse_arguments(strip_quotes(single_line(text)))
        if len(query) > LONGEST_QUERY:
            raise CallSyntaxError(
                "too_long",
                f"The query {query[:40]!r}… of {self.name} has {len(query)} characters. Expected "
                f"at most {LONGEST_QUERY}.",
            )
        return query

    @abstractmethod
    def look_up(self, queries: Sequence[str]) -> list[list[StoredPassage]]:
        """Rank passages for each of several distinct queries, deep enough to pass some over."""

    def look_up_deeper(self, queries: Sequence[str]) -> list[list[StoredPassage]]:
        """Rank more passages, for texts that own all that `look_up` found; none by default."""
        return [[] for _ in queries]

    @abstractmethod
    def select(
        self, query: str, passages: Sequence[StoredPassage], document: Document
    ) -> list[StoredPassage]:
        """Return the passages that may answer this query in this text, in their order."""

    @abstractmethod
    def read(
        self, requests: Sequence[tuple[str, Sequence[StoredPassage]]]
    ) -> list[str | ToolCallError]:
        """Answer queries from passages, at least one each."""

    def call(self, arguments: str, document: Document) -> str:
        """Answer one query; see `answer_from_passages`, which answers several together."""
        (found,) = self.look_up([arguments])
        passages = self.select(arguments, found, document)
        if found and not passages:
            (found,) = self.look_up_deeper([arguments])
            passages = self.select(arguments, found, document)
        if not passages:
            raise ToolCallError(
                "no_result",
                f"{self.name} has no answer to {arguments[:60]!r} outside the call's own text. "
                "Expected a query that other passages answer.",
            )
        (answer,) = self.read([(arguments, passages)])
        if isinstance(answer, ToolCallError):
            raise answer
        return answer


def answer_from_passages(
    tool: RetrievalTool, requests: Sequence[tuple[str, Document]], run_step: StepRunner
) -> list[ToolResult]:
    """Take requests through the three steps.

    Args:
        run_step: Runs one step; keeps and limits it where that is wanted.

    Returns:
        One outcome per request, in order; `no_result` where no foreign passage was found. An
        answer is from the cache where every dear step was.
    """
    first_results = run_step("look_up", [query for query, _ in requests], True, tool.look_up)
    chosen = _select(tool, requests, first_results)
    # The text may own all that was found, and others' passages stand further down.
    poor = [
        index
        for index, result in enumerate(chosen)
        if result.reason is None and first_results[index].result and not result.result
    ]
    queries = [requests[index][0] for index in poor]
    deeper = run_step("look_up_deeper", queries, True, tool.look_up_deeper)
    again = _select(tool, [requests[index] for index in poor], deeper)
    for index, looked_up, selected in zip(poor, deeper, again, strict=True):
        first_results[index], chosen[index] = looked_up, selected
    answered = [
        index for index, result in enumerate(chosen) if result.reason is None and result.result
    ]
    readings = run_step(
        "read",
        [(requests[index][0], chosen[index].result) for index in answered],
        tool.keeps_readings,
        tool.read,
    )
    outcomes = [
        selected_result
        if selected_result.reason is not None
        else ToolResult(None, "no_result", looked_up.seconds, from_cache=looked_up.from_cache)
        for selected_result, looked_up in zip(chosen, first_results, strict=True)
    ]
    for index, reading in zip(answered, readings, strict=True):
        outcomes[index] = replace(
            reading,
            seconds=first_results[index].seconds + reading.seconds,
            from_cache=first_results[index].from_cache
            and (reading.from_cache or not tool.keeps_readings),
        )
    return outcomes


def _select(
    tool: RetrievalTool, requests: Sequence[tuple[str, Document]], found: Sequence[ToolResult]
) -> list[ToolResult]:
    """The passages that may answer each request; failures of the step before are passed on."""
    return [
        outcome
        if outcome.reason is not None
        else replace(outcome, result=tool.select(query, outcome.result, document))
        for (query, document), outcome in zip(requests, found, strict=True)
    ]
