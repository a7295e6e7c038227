"""Follows the likeliest candidate answers of several passages, token by token.

    passage 0:   the | 1869 | Suez        all first tokens of the candidates, from one state
                 the Vistula | 1869 ⏎     the likeliest go on; those that are complete are counted

A candidate is complete when the model ends its line behind it. What a narrow beam drops is the
unlikely: a beginning is at least as probable as any answer that begins so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from toolformer.forward.language_model import LanguageModel
from toolformer.question_answering.answer_spans import SpanNode

if TYPE_CHECKING:
    import torch

_LINE_ENDS = ("\n", "\n\n")


def line_end_ids(model: LanguageModel) -> list[int]:
    """Tokens with which the model ends an answer: line ends, and the end of the text."""
    tokens = {model.tokenizer.encode(end)[0] for end in _LINE_ENDS}
    ends = getattr(model.model.generation_config, "eos_token_id", None)
    tokens.update(ends if isinstance(ends, list) else [] if ends is None else [ends])
    return sorted(tokens)


@dataclass(frozen=True, slots=True)
class _Beginning:
    """A beginning of answers from one passage."""

    passage: int
    node: SpanNode
    log_probability: float


class AnswerBeam:
    """The beginnings that are followed, passage by passage.

    Args:
        width: Beginnings that are followed in each passage, at each token.
        least_probability: Beginnings that are less probable are not followed.

    Attributes:
        parents, tokens: What is to be fed next, see `BranchKeys.feed`; nothing at the end.
        found: For each passage the probabilities of the spans that were followed to their end.
    """

    def __init__(
        self,
        model: LanguageModel,
        trees: Sequence[SpanNode],
        *,
        width: int,
        least_probability: float,
    ):
        import torch

        self._model = model
        self._width = width
        self._least = math.log(least_probability) if least_probability else -math.inf
        self._ends = torch.tensor(line_end_ids(model), device=model.device)
        self._beginnings = [_Beginning(place, tree, 0.0) for place, tree in enumerate(trees)]
        self.parents: list[int] = []
        self.tokens: list[int] = []
        self.found: list[dict[str, float]] = [{} for _ in trees]

    def advance(self, states: "torch.Tensor") -> None:
        """Take in what was fed, and choose what is fed next.

        Args:
            states: Behind the last token of each beginning, shape `(beginnings, hidden)`.
        """
        import torch

        log_probabilities = torch.log_softmax(self._model.logits(states), dim=-1)
        ends = torch.logsumexp(log_probabilities[:, self._ends], dim=-1).tolist()
        continued: dict[int, list[tuple[float, int, int, SpanNode]]] = {}
        for place, (beginning, end) in enumerate(zip(self._beginnings, ends, strict=True)):
            for span in beginning.node.spans:
                probability = math.exp(beginning.log_probability + end)
                self.found[beginning.passage][span] = probability
            tokens = list(beginning.node.children)
            of_tokens = log_probabilities[place, tokens].tolist() if tokens else []
            for token, log_probability in zip(tokens, of_tokens, strict=True):
                total = beginning.log_probability + log_probability
                if total >= self._least:
                    continued.setdefault(beginning.passage, []).append(
                        (total, place, token, beginning.node.children[token])
                    )
        self._follow(continued)

    def _follow(self, continued: dict[int, list[tuple[float, int, int, SpanNode]]]) -> None:
        """Keep the likeliest beginnings of each passage, in the order of their parents."""
        chosen: list[tuple[int, int, float, SpanNode]] = []
        for passage in continued.values():
            likeliest = sorted(passage, key=lambda entry: (-entry[0], entry[1], entry[2]))
            chosen += [
                (place, token, total, node)
                for total, place, token, node in likeliest[: self._width]
            ]
        chosen.sort(key=lambda entry: entry[:2])
        before = self._beginnings
        self.parents = [place for place, _, _, _ in chosen]
        self.tokens = [token for _, token, _, _ in chosen]
        self._beginnings = [
            _Beginning(before[place].passage, node, total) for place, _, total, node in chosen
        ]
