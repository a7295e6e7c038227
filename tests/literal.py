"""The method straight from the formulas: one text, one position, one call at a time.

The oracle of the engine. Nothing is cached, batched or pruned; every number comes from one forward
pass of the whole model over one sequence.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from unittest import mock

import torch

from toolformer.forward import branches
from toolformer.forward.language_model import LanguageModel
from toolformer.model_check.plain_scores import PlainScores
from toolformer.model_check.plain_scores import can_be_drawn as _can_be_drawn
from tools.protocol import ToolCall
from tools.syntax import call_pieces

# How far rounding moves a log-probability of the embedded model, with room to spare: seen are 4e-5.
_ROUNDING = 1e-4
can_be_drawn = partial(_can_be_drawn, rounding=_ROUNDING)
WEIGHTS = [max(0.0, 1 - 0.2 * t) / 3 for t in range(5)]


def next_token_log_probabilities(model: LanguageModel, ids: list[int]) -> torch.Tensor:
    """log p( · | ids) after the whole sequence, shape (vocabulary,)."""
    return log_probabilities_behind(model, ids, [])[0]


def log_probabilities_behind(
    model: LanguageModel, context: list[int], tokens: list[int]
) -> torch.Tensor:
    """log p( · | context, tokens so far) at each of the tokens and behind them, one row each."""
    return PlainScores(model).behind(context + tokens, len(context))


def prompt_ids(model: LanguageModel, prompt: str, text: str) -> list[int]:
    """Tokens of P(x), cut where the engine cuts it, so that both feed the same tokens."""
    return PlainScores(model).prompt_ids(prompt, text)


def call_probability(model: LanguageModel, prompt: str, text: str, position: int) -> float:
    """p_i = p_M(<API> | P(x), x_{1:i-1}), the product over the tokens of <API>."""
    ids = model.tokenizer.encode(text)
    context = prompt_ids(model, prompt, text) + ids[:position]
    opening = model.tokenizer.encode_behind(" [")
    return math.exp(_log_probability(model, context, opening))


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
        probability *= math.exp(float(scores[written[-1]]))
        text = model.tokenizer.decode_behind(written).lstrip(" ")
        left = [t for t in tools if f"{t}(".startswith(text) or text.startswith(f"{t}(")]
        if not left:
            return None, 0.0
        if len(left) == 1 and text.startswith(left[0]):
            return left[0], probability


def _log_probability(model: LanguageModel, context: list[int], tokens: list[int]) -> float:
    scores = log_probabilities_behind(model, context, tokens)
    return sum(float(row[token]) for row, token in zip(scores, tokens, strict=False))


def sampling_context(
    model: LanguageModel, prompt: str, text: str, position: int, *, forced: list[str]
) -> list[int]:
    """Tokens of [P(x), x_{1:i-1}, <API>], behind which a call is sampled."""
    ids = model.tokenizer.encode(text)
    context = prompt_ids(model, prompt, text) + ids[:position]
    return context + model.tokenizer.encode_pieces(forced)


def sample_behind(
    model: LanguageModel, context: list[int], *, uniforms: list[float], is_finished
) -> list[int]:
    """Tokens drawn one by one behind a context."""
    tokens: list[int] = []
    for uniform in uniforms:
        probabilities = next_token_log_probabilities(model, context + tokens).double().exp()
        # The 256 likeliest tokens in descending order, then the others in the order of their ids.
        likeliest = probabilities.sort(descending=True, stable=True).indices[:256]
        others = torch.ones_like(probabilities, dtype=torch.bool)
        others[likeliest] = False
        order = torch.cat([likeliest, torch.nonzero(others)[:, 0]])
        place = int(
            torch.searchsorted(probabilities[order].cumsum(0), torch.tensor(uniform), right=True)
        )
        tokens.append(int(order[min(place, len(order) - 1)]))
        if ends_call(model, tokens[-1]) or is_finished(
            [model.tokenizer.decode_behind([token]) for token in tokens]
        ):
            break
    return tokens


def ends_call(model: LanguageModel, token: int) -> bool:
    """Whether a token is no text, so that the call that it is sampled in ends there."""
    return token in model.end_ids or token in model.tokenizer.special_ids


def text_of_call(model: LanguageModel, tokens: Sequence[int]) -> str:
    """What was sampled, without the token that is no text."""
    return model.tokenizer.decode([token for token in tokens if not ends_call(model, token)])


@contextmanager
def recorded_draws() -> Iterator[dict[float, int]]:
    """What the engine draws meanwhile: the random number of each sampled token, and the token."""
    draws: dict[float, int] = {}

    def recording(logits, uniforms, **others):
        tokens, log_probabilities = sample_tokens(logits, uniforms, **others)
        draws.update(zip(uniforms.tolist(), tokens, strict=True))
        return tokens, log_probabilities

    sample_tokens = branches.sample_tokens
    with mock.patch.object(branches, "sample_tokens", recording):
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


def branch_log_probability(
    model: LanguageModel,
    prompt: str,
    text: str,
    position: int,
    forced: list[str],
    tokens: list[int],
) -> float:
    """log p(tokens | P(x), x_{1:i-1}, forced), teacher-forced."""
    context = sampling_context(model, prompt, text, position, forced=forced)
    return _log_probability(model, context, tokens)


@dataclass(frozen=True)
class LiteralLosses:
    loss_without_call: float
    loss_call_without_result: float
    loss_with_result: float

    @property
    def loss_reduction(self) -> float:
        return min(self.loss_without_call, self.loss_call_without_result) - self.loss_with_result


def inline_loss(
    model: LanguageModel, call: list[int], ids: list[int], position: int, weights: list[float]
) -> float:
    """L_i(z) with z at its place: -Σ w_{j-i} log p(x_j | x_{1:i-1}, z, x_{i:j-1})."""
    before = [model.bos_id, *ids[:position], *call]
    following = ids[position : position + len(weights)]
    scores = log_probabilities_behind(model, before, following)
    terms = zip(weights, scores, following, strict=False)
    return -sum(weight * float(row[token]) for weight, row, token in terms)


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
    if is_inline:
        return inline_loss(model, call, ids, position, weights)
    # A call in front is one at place 0 whose window begins further on.
    return inline_loss(model, call, ids, 0, [0.0] * position + weights)


def call_losses(
    model: LanguageModel, text: str, position: int, call: ToolCall, result: str
) -> LiteralLosses:
    """All losses of a call that stands in front of its text, with the paper's weights."""
    ids = model.tokenizer.encode(text)
    forms = ([], call_pieces(call, None), call_pieces(call, result))
    return LiteralLosses(
        *(
            form_loss(
                model,
                model.tokenizer.encode_pieces(pieces),
                ids,
                position,
                WEIGHTS,
                is_inline=False,
            )
            for pieces in forms
        )
    )
