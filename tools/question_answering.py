"""Implements QA: short answers to questions, found in passages (paper, §3: Atlas).

A retriever ranks passages, the text's own passages are skipped, and a reader finds the answer in
the best remaining ones. Retriever and reader are passed in, because a reader needs a model and this
package has none.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, PositiveInt, SkipValidation

from tools.base import with_checked_settings
from tools.errors import ToolCallError, ToolSettingsError
from tools.proposing.facts import propose_facts
from tools.protocol import Document, Proposal
from tools.retrieval.retrieval_tool import Answer, RankedPassage, Reader, RetrievalTool, Retriever
from tools.text_overlap import OVERLAP_SHARE


class QA(RetrievalTool):
    """Tool that answers a question in a few words.

    The reader gets the best `passages` of the first `depth` passages, except the text's own.
    """

    name = "QA"
    is_compute_bound = True
    # A batch gets the time of at most 20 deadlines (`MAX_DEADLINES_PER_BATCH`).
    calls_per_batch = 16
    description = "Answers a question in a few words found in Wikipedia."

    @with_checked_settings
    def __init__(
        self,
        retriever: SkipValidation[Retriever],
        reader: SkipValidation[Reader],
        *,
        passages: PositiveInt = 3,
        depth: int = 20,
        min_probability: Annotated[float, Field(ge=0, le=1)] = 0.01,
    ) -> None:
        if depth < passages:
            raise ToolSettingsError(
                f"QA: depth is {depth}. Expected at least {passages}, the value of passages."
            )
        self.retriever = retriever
        self.reader = reader
        self.passages = passages
        self.depths = (depth,)
        self.min_probability = min_probability

    # A property, since answers change if an index is rebuilt while the tool exists.
    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (
            f"{self.sampling_version} passages={self.passages} depth={self.depths[0]} "
            f"min_probability={self.min_probability:g} overlap_share={OVERLAP_SHARE:g} "
            f"retriever=({self.retriever.version()}) reader=({self.reader.version()})"
        )

    def proposals(self, document: Document) -> Sequence[Proposal]:
        """Propose positions of names, years and numbers; the model writes the questions."""
        return propose_facts(document.text)

    def prepare(self) -> None:
        with self._named_errors():
            self.reader.prepare()

    def read(
        self, requests: Sequence[tuple[str, Sequence[RankedPassage]]]
    ) -> list[str | ToolCallError]:
        """Return an answer per request, or a ToolCallError with reason `unsure`."""
        return [
            self._answer(question, answer)
            for (question, _), answer in zip(requests, self.reader.read(requests), strict=True)
        ]

    def _answer(self, question: str, answer: Answer | None) -> str | ToolCallError:
        if answer is not None and answer.probability >= self.min_probability:
            return answer.text
        best = "no answer" if answer is None else f"at best {answer.text!r}"
        return ToolCallError(
            "unsure",
            f"{self.name} is not sure about the question {question[:60]!r}: it found {best}. "
            f"Expected an answer with a probability of at least {self.min_probability:g} "
            "(min_probability).",
        )
