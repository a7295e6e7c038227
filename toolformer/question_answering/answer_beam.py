"""Follows the likeliest candidate answers of several passages, token by token.

    passage 0:   the | 1869 | Suez        all first tokens of the candidates, from one state
                 the Vistula | 1869 ⏎     the likeliest go on; those that are complete are counted

A candidate is complete when the model ends its line behind it. What a narrow beam drops is the
unlikely: a beginning is at least as probable as any answer that begins so.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from toolformer.forward.branch_keys import BranchKeys
from toolformer.forward.language_model import LanguageModel
from toolformer.question_answering.answer_spans import SpanNode

if TYPE_CHECKING:
    import torch

_LINE_ENDS = ("\n", "\n\n")


def line_end_ids(model: LanguageModel) -> list[int]:
    """Tokens with which the model ends an answer: line ends, and the end of the text."""
    tokens = {model.tokenizer.encode_behind(end)[0] for end in _LINE_ENDS}
    ends = getattr(model.model.generation_config, "eos_token_id", None)
    tokens.update(ends if isinstance(ends, list) else [] if ends is None else [ends])
    return sorted(tokens)


class _Beginning(NamedTuple):
    """A beginning of answers from one passage."""

    passage: int
    node: SpanNode
    log_probability: float


class _Continuation(NamedTuple):
    """A beginning with its last token and the place of the one before; likelier ones sort first."""

    negative_log_probability: float
    parent: int
    token: int
    beginning: _Beginning


def likeliest_spans(
    model: LanguageModel,
    trees: Sequence[SpanNode],
    keys: BranchKeys,
    states: "torch.Tensor",
    *,
    width: int,
    min_probability: float,
) -> list[dict[str, float]]:
    """The probabilities of the spans that a beam follows to their end, for each passage.

    Args:
        trees: the candidates of each passage.
        keys: keys of the passages; a start behind each.
        states: behind each passage, shape `(passages, hidden)`.
        width: beginnings that are followed in each passage, at each token.
        min_probability: beginnings that are less probable are not followed.
    """
    import torch

    line_ends = torch.tensor(line_end_ids(model), device=model.device)
    min_log_probability = math.log(min_probability) if min_probability else -math.inf
    beginnings = [_Beginning(passage, tree, 0.0) for passage, tree in enumerate(trees)]
    answers: list[dict[str, float]] = [{} for _ in trees]
    while beginnings:
        log_probabilities = torch.log_softmax(model.logits(states), dim=-1)
        ends = torch.logsumexp(log_probabilities[:, line_ends], dim=-1).tolist()
        continued: dict[int, list[_Continuation]] = {}
        for parent, (beginning, end) in enumerate(zip(beginnings, ends, strict=True)):
            for span in beginning.node.spans:
                probability = math.exp(beginning.log_probability + end)
                answers[beginning.passage][span] = probability
            children = beginning.node.children
            token_log_probabilities = (
                log_probabilities[parent, list(children)].tolist() if children else []
            )
            for (token, node), log_probability in zip(
                children.items(), token_log_probabilities, strict=True
            ):
                total = beginning.log_probability + log_probability
                if total >= min_log_probability:
                    continuation = _Continuation(
                        -total, parent, token, _Beginning(beginning.passage, node, total)
                    )
                    continued.setdefault(beginning.passage, []).append(continuation)
        likeliest = [beam for beams in continued.values() for beam in sorted(beams)[:width]]
        # In the order of their parents, as `feed` wants them.
        likeliest.sort(key=lambda beam: (beam.parent, beam.token))
        beginnings = [beam.beginning for beam in likeliest]
        if beginnings:
            states = keys.feed(
                [beam.parent for beam in likeliest], [[beam.token] for beam in likeliest]
            )
    return answers
