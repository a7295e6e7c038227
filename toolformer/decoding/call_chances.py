"""How likely a model is to open a call at each position of given texts, read without calls.

    fed row:       start | x_0 x_1 … x_{n-2}
    chances row:     0     1   2  …   n-1      of ` [` in front of x_0 … x_{n-1}

`calibration` chooses from them.
"""

import math
from collections.abc import Callable, Sequence

from toolformer.calls import call_open_id
from toolformer.decoding.triggers import NO_CHANCE, CallChance
from toolformer.forward.batching import plan_batches
from toolformer.forward.model import Model, Place
from toolformer.forward.windows import Window


def call_chances(
    model: Model,
    windows: Sequence[Window],
    *,
    token_budget: int,
    progress: Callable[[int, int], None],
) -> list[list[CallChance]]:
    """Rank and probability of ` [` in front of every token, as decoding would find them.

    Each text is fed once.

    Args:
        windows: texts, each with at least one token.

    Returns:
        Per text its chances, shape `(n,)`; without rank inside a character.
    """
    chances = [[NO_CHANCE] * len(window.ids) for window in windows]
    open_id = call_open_id(model.tokenizer)
    done = 0
    for batch in plan_batches([len(window.ids) for window in windows], token_budget=token_budget):
        texts = model.read(None, [windows[index] for index in batch])
        places = [
            Place(row, position)
            for row, index in enumerate(batch)
            for position, offset in enumerate(windows[index].offsets)
            if offset is not None
        ]
        for place, (rank, log_probability) in zip(
            places, texts.ranks(places, open_id), strict=True
        ):
            chances[batch[place.row]][place.position] = CallChance(rank, math.exp(log_probability))
        done += len(batch)
        progress(done, len(windows))
    return chances
