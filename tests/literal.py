"""What tests need beside the reference method: other forms of the loss, ties, recorded draws."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

import torch

from toolformer.forward import prefill
from toolformer.forward.language_model import LanguageModel
from toolformer.reference import loss, next_token_log_probabilities

# How far rounding moves a log-probability of the embedded model, with room to spare: seen are 4e-5.
_ROUNDING = 1e-4


def form_loss(
    model: LanguageModel,
    call: list[int],
    ids: list[int],
    position: int,
    weights: list[float],
    *,
    is_inline: bool,
) -> float:
    """L_i(z) with other weights, z at its place or in front of the whole text."""
    before = [*ids[:position], *call] if is_inline else [*call, *ids[:position]]
    return loss(model, before, ids[position:], weights)


def named_tool(
    model: LanguageModel, ids: list[int], tools: Sequence[str]
) -> tuple[str | None, float]:
    """The tool that a model writes behind ids that end with <API>, and p(tool | ids).

    Greedily, up to the token with which the whole name stands there and no other can follow.
    """
    written: list[int] = []
    probability = 1.0
    while True:
        scores = next_token_log_probabilities(model, [*ids, *written])
        written.append(int(scores.argmax()))
        probability *= float(scores[written[-1]].exp())
        text = model.tokenizer.decode_continuation(written).lstrip(" ")
        left = [t for t in tools if f"{t}(".startswith(text) or text.startswith(f"{t}(")]
        if not left:
            return None, 0.0
        if len(left) == 1 and text.startswith(left[0]):
            return left[0], probability


@contextmanager
def recorded_draws() -> Iterator[dict[float, int]]:
    """What the engine draws meanwhile: the random number of each sampled token, and the token."""
    draws: dict[float, int] = {}

    def recording(logits, uniforms, **others):
        tokens, log_probabilities = sample_tokens(logits, uniforms, **others)
        draws.update(zip(uniforms.tolist(), tokens, strict=True))
        return tokens, log_probabilities

    sample_tokens = prefill.sample_tokens
    with mock.patch.object(prefill, "sample_tokens", recording):
        yield draws


def is_same_or_tie(
    model: LanguageModel, context: list[int], tokens: list[int], others: list[int]
) -> bool:
    """Whether two samples are equal, or part where two tokens are equally likely but for rounding.

    Sampling by inversion goes through the tokens by falling probability, so that such a tie decides
    which of them is drawn.
    """
    for index, (token, other) in enumerate(zip(tokens, others, strict=False)):
        if token != other:
            scores = next_token_log_probabilities(model, context + tokens[:index])
            return abs(float(scores[token] - scores[other])) < 1e-4
    return len(tokens) == len(others)


def can_be_drawn(
    log_probabilities: torch.Tensor, uniform: float, token: int, *, rounding: float = _ROUNDING
) -> bool:
    """Return whether a random number can draw a token, given the rounding of the logits.

    The tokens whose order among the 256 likeliest is not a matter of rounding bound the part of
    [0, 1) that belongs to the token. Of the others, which stand in the order of their ids, one can
    take the place of the 256th token, and all between them move by as much.

    Args:
        log_probabilities: Shape `(vocabulary,)`, in nats.
        rounding: Largest rounding error of a log-probability.
    """
    probabilities = log_probabilities.double().exp()
    likeliest = probabilities.topk(min(256, len(probabilities))).indices
    if token in likeliest:
        above = probabilities[log_probabilities > log_probabilities[token] + rounding].sum()
        upto = probabilities[log_probabilities >= log_probabilities[token] - rounding].sum()
        slack = rounding
    else:
        others = probabilities.clone()
        others[likeliest] = 0
        above = probabilities[likeliest].sum() + others[:token].sum()
        upto = above + probabilities[token]
        slack = rounding + float(probabilities[likeliest[-1]])
    return float(above) - slack <= uniform <= float(upto) + slack
