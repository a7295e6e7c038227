"""Follows the likeliest candidate answers of several passages, token by token.

    passage 0:   the | 1869 | Suez        all first tokens of the candidates, from one state
                 the Vistula | 1869 ⏎     the likeliest go on; those that are complete are counted

A candidate is complete when the model ends its line behind it. What a narrow beam drops is the
unlikely: a beginning is at least as probable as any answer that begins so.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from toolformer.forward.model import Beam, Model
from toolformer.question_answering.answer_spans import SpanNode

_LINE_ENDS = ("\n", "\n\n")


def line_end_ids(model: Model) -> list[int]:
    """Tokens with which the model ends an answer: line ends, and what ends a text."""
    return sorted(model.end_ids | {model.tokenizer.encode_behind(end)[0] for end in _LINE_ENDS})


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
    trees: Sequence[SpanNode],
    beam: Beam,
    line_ends: Sequence[int],
    *,
    width: int,
    min_probability: float,
) -> list[dict[str, float]]:
    """The probabilities of the spans that a beam follows to their end, for each passage.

    Args:
        width: beginnings that are followed in each passage, at each token.
        min_probability: beginnings that are less probable are not followed.
    """
    min_log_probability = math.log(min_probability) if min_probability else -math.inf
    beginnings = [_Beginning(passage, tree, 0.0) for passage, tree in enumerate(trees)]
    answers: list[dict[str, float]] = [{} for _ in trees]
    while beginnings:
        told = beam.log_probabilities([[*line_ends, *each.node.children] for each in beginnings])
        continued: dict[int, list[_Continuation]] = {}
        for parent, (beginning, log_probabilities) in enumerate(zip(beginnings, told, strict=True)):
            end = math.fsum(map(math.exp, log_probabilities[: len(line_ends)]))
            for span in beginning.node.spans:
                answers[beginning.passage][span] = math.exp(beginning.log_probability) * end
            for (token, node), log_probability in zip(
                beginning.node.children.items(), log_probabilities[len(line_ends) :], strict=True
            ):
                total = beginning.log_probability + log_probability
                if total >= min_log_probability:
                    continuation = _Continuation(
                        -total, parent, token, _Beginning(beginning.passage, node, total)
                    )
                    continued.setdefault(beginning.passage, []).append(continuation)
        likeliest = [each for beams in continued.values() for each in sorted(beams)[:width]]
        # In the order of their parents, as `follow` wants them.
        likeliest.sort(key=lambda each: (each.parent, each.token))
        beginnings = [each.beginning for each in likeliest]
        if beginnings:
            beam.follow([each.parent for each in likeliest], [each.token for each in likeliest])
    return answers
