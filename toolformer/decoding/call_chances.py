"""How likely a model is to open a call at each position of given texts, read without calls.

    fed row:       start | x_0 x_1 … x_{n-2}
    chances row:     0     1   2  …   n-1      of ` [` in front of x_0 … x_{n-1}

`calibration` chooses from them.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from toolformer.calls import call_open_ids
from toolformer.decoding.next_tokens import joint_ranks, ranks
from toolformer.decoding.triggers import CallChance
from toolformer.forward.batching import plan_batches
from toolformer.forward.language_model import LOGIT_ROWS, LanguageModel
from toolformer.forward.prefill import ReadTexts
from toolformer.forward.prefix_cache import prompt_prefix
from toolformer.forward.windows import Window

if TYPE_CHECKING:
    import torch

# Rank and log-probability, by row and position.
_Ranked: TypeAlias = dict[tuple[int, int], tuple[int, float]]


def call_chances(
    model: LanguageModel,
    windows: Sequence[Window],
    *,
    call_top_k: int,
    token_budget: int,
    progress: Callable[[int, int], None],
) -> list[list[CallChance]]:
    """Rank and probability of ` [` in front of every token, as decoding would find them.

    Each text is fed once. Where ` [` is several tokens, its probability is the product of theirs,
    and the others are fed behind the first wherever this is among the k likeliest.

    Args:
        windows: texts, each with at least one token.

    Returns:
        Per text its chances, shape `(n,)`; without rank inside a character, and where the first of
        several tokens is not among the k likeliest.
    """
    import torch

    chances: list[list[CallChance]] = [[] for _ in windows]
    batches = plan_batches([len(window.ids) for window in windows], token_budget=token_budget)
    done = 0
    with torch.inference_mode():
        for batch in batches:
            batch_chances = _batch_chances(model, [windows[index] for index in batch], call_top_k)
            for index, window_chances in zip(batch, batch_chances, strict=True):
                chances[index] = window_chances
            done += len(batch)
            progress(done, len(windows))
    return chances


def _batch_chances(
    model: LanguageModel, windows: Sequence[Window], call_top_k: int
) -> list[list[CallChance]]:
    texts = ReadTexts(model, prompt_prefix(model, None), windows)
    first, *others = call_open_ids(model.tokenizer)
    ranked: _Ranked = {}
    for row, window in enumerate(windows):
        positions = [at for at, offset in enumerate(window.offsets) if offset is not None]
        in_row = _rank(model, texts.states[row][positions], first)
        ranked.update(((row, at), chance) for at, chance in zip(positions, in_row, strict=True))
    if others:
        likely = {index: chance for index, chance in ranked.items() if chance[0] <= call_top_k}
        ranked = _rank_several_tokens(model, texts, likely) if likely else {}
    chances = [[CallChance(None, None)] * len(window.ids) for window in windows]
    for (row, at), (rank, log_probability) in ranked.items():
        chances[row][at] = CallChance(rank, math.exp(log_probability))
    return chances


def _rank_several_tokens(model: LanguageModel, texts: ReadTexts, firsts: _Ranked) -> _Ranked:
    """The same of the whole opening, at the places where its first token is likely enough."""
    import torch

    open_ids = call_open_ids(model.tokenizer)
    joint = [log_probability for _, log_probability in firsts.values()]
    states = torch.stack([texts.states[row][at] for row, at in firsts])
    keys = texts.branch_keys([texts.start(row, at) for row, at in firsts])
    for token, following in itertools.pairwise(open_ids):
        behind = keys.feed(range(len(joint)), [[token]] * len(joint))
        factors = [factor for _, factor in _rank(model, behind, following)]
        joint = [sum(pair) for pair in zip(joint, factors, strict=True)]
    ranked: list[int] = []
    for chunk in _chunks(states):
        logits = model.logits(states[chunk])
        ranked += joint_ranks(logits, open_ids[0], joint[chunk])
    return dict(zip(firsts, zip(ranked, joint, strict=True), strict=True))


def _rank(model: LanguageModel, states: "torch.Tensor", token: int) -> list[tuple[int, float]]:
    """Rank and log-probability of a token behind each state, shape `(n, hidden)`."""
    ranked: list[tuple[int, float]] = []
    for chunk in _chunks(states):
        rank, log_probability = ranks(model.logits(states[chunk]), token)
        ranked += zip(map(int, rank.tolist()), log_probability.tolist(), strict=True)
    return ranked


def _chunks(states: "torch.Tensor") -> list[slice]:
    return [slice(at, at + LOGIT_ROWS) for at in range(0, len(states), LOGIT_ROWS)]
