"""QA: a short answer to a question, found in passages (paper, section 3: Atlas).

A retriever ranks passages, the text's own are passed over, and a reader looks for the answer in
the best of the rest. Both are handed over, because a reader needs a model and this package has
none.
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
    """Answers a question in a few words of a passage that is not the asking text's own.

    Args:
        passages: Passages that are read, at least 1.
        depth: Passages that are ranked before those of the text itself are passed over.
        min_probability: Answers that the reader finds less probable are not given, 0 to 1.
    """

    name = "QA"
    computes = True
    # A batch has at most 20 deadlines.
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
                f"QA: depth is {depth}. Expected at least {passages}, the passages to read."
            )
        self.retriever = retriever
        self.reader = reader
        self.passages = passages
        self.depths = (depth,)
        self.min_probability = min_probability

    # A property, because answers change when an index is built anew during the tool's life.
    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Everything that answers depend on, index and model included."""
        return (
            f"{self.sampling_version} passages={self.passages} depth={self.depths[0]} "
            f"min_probability={self.min_probability:g} overlap_share={OVERLAP_SHARE:g} "
            f"retriever=({self.retriever.version()}) reader=({self.reader.version()})"
        )

    def proposals(self, document: Document) -> Sequence[Proposal]:
        """Propose names, years and numbers; the question is the model's."""
        return propose_facts(document.text)

    def prepare(self) -> None:
        """Load the reader's model."""
        with self._named_errors():
            self.reader.prepare()

    def read(
        self, requests: Sequence[tuple[str, Sequence[RankedPassage]]]
    ) -> list[str | ToolCallError]:
        """Answer questions from their passages.

        Returns:
            One entry per request: the answer, or a `ToolCallError` with reason `unsure`.
        """
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
            f"Question answering is not sure about {question[:60]!r}: it found {best}. Expected "
            f"an answer with a probability of {self.min_probability:g} or more "
            "(min_probability).",
        )
