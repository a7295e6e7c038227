"""Many short continuations of one text, sampled together over its shared keys and values.

step 0:  forced ` [Tool(`        one node per chosen position, all its branches in it
step 1:  ` 2`, ` 2`, ` 17`       branches with the same tokens so far stay one node
step 2:  …                       finished branches have left
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from toolformer.forward.model import Branch
from toolformer.forward.network import Network
from toolformer.forward.next_tokens import sample_tokens
from toolformer.forward.rows import Rows

if TYPE_CHECKING:
    import torch


def sample_branches(
    model: Network,
    rows: Rows,
    groups: Sequence[Sequence[Branch]],
    *,
    forced_ids: Sequence[int],
    max_new_tokens: int,
    temperature: float,
    is_finished: Callable[[Branch], bool],
) -> None:
    """Sample all branches to their end; they are filled in place.

    Args:
        rows: what stands in front of the branches; of no use afterwards.
        groups: per row the branches that begin there.
        forced_ids, temperature, is_finished: see `toolformer.forward.model.Texts.sample`.
    """
    if not groups:
        return
    states = rows.feed([forced_ids] * len(groups))
    active = [(node, branch) for node, group in enumerate(groups) for branch in group]
    for step in range(max_new_tokens):
        drawn = _draw(model, states, active, step, temperature)
        for (_, branch), (token, log_probability) in zip(active, drawn, strict=True):
            branch.tokens.append(token)
            branch.token_texts.append(model.tokenizer.token_text(token))
            branch.log_probability += log_probability
            branch.is_finished = is_finished(branch)
        going_on = [(node, branch) for node, branch in active if not branch.is_finished]
        if not going_on or step == max_new_tokens - 1:
            return
        # Equal tokens behind one node are one node again, fed once.
        nodes: dict[tuple[int, int], int] = {}
        active = [
            (nodes.setdefault((node, branch.tokens[-1]), len(nodes)), branch)
            for node, branch in going_on
        ]
        # In the order of their parents, as `fork` wants them; branches follow.
        order = sorted(nodes, key=lambda key: key[0])
        index_of = {nodes[key]: index for index, key in enumerate(order)}
        active = sorted(
            ((index_of[node], branch) for node, branch in active), key=lambda pair: pair[0]
        )
        rows = rows.fork([node for node, _ in order], shares=True)
        states = rows.feed([[token] for _, token in order])


def _draw(
    model: Network,
    states: "torch.Tensor",
    active: Sequence[tuple[int, Branch]],
    step: int,
    temperature: float,
) -> list[tuple[int, float]]:
    """The next token of every branch with its log-probability, some nodes at a time."""
    drawn: list[tuple[int, float]] = []
    size = model.logit_rows
    # Branches stand in the order of their nodes.
    for first, chunk in groupby(active, key=lambda pair: pair[0] // size * size):
        chunk_branches = list(chunk)
        logits = model.logits(states[first : first + size])
        tokens, log_probabilities = sample_tokens(
            logits,
            np.array([branch.uniforms[step] for _, branch in chunk_branches]),
            rows=[node - first for node, _ in chunk_branches],
            temperature=temperature,
        )
        drawn.extend(zip(tokens, log_probabilities, strict=True))
    return drawn
