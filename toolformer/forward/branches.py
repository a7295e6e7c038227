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
from toolformer.forward.rows import Rows

if TYPE_CHECKING:
    import torch

# Sampling cumulates the probabilities of this many tokens in descending order and treats the rest
# as one bucket: summing a whole vocabulary in id order loses the last digits that make a sample
# the same in every batching.
_HEAD_TOKENS = 256


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


def sample_tokens(
    logits: "torch.Tensor", uniforms: np.ndarray, *, rows: Sequence[int], temperature: float
) -> tuple[list[int], list[float]]:
    """Draw tokens by inverting the cumulative distribution at given numbers.

    Args:
        logits: float32, shape `(nodes, vocabulary)`.
        uniforms: in [0, 1), shape `(branches,)`.
        rows: the node of each branch, shape `(branches,)`.
        temperature: above 0.

    Returns:
        Tokens, and their log-probabilities at temperature 1 in nats.
    """
    import torch

    total = torch.logsumexp(logits, dim=-1, keepdim=True)
    scaled, normaliser = logits, total
    if temperature != 1:
        scaled = logits / temperature
        normaliser = torch.logsumexp(scaled, dim=-1, keepdim=True)
    head_size = min(_HEAD_TOKENS, logits.shape[-1])
    top, order = torch.topk(scaled, head_size, dim=-1)
    cumulated = torch.exp(top.double() - normaliser.double()).cumsum(dim=-1)
    row = torch.tensor(rows, device=logits.device)
    drawn = torch.from_numpy(uniforms).to(logits.device)[:, None]
    places = torch.searchsorted(cumulated[row], drawn, right=True)[:, 0]
    tokens = order[row, places.clamp(max=head_size - 1)]
    chosen = logits[row, tokens] - total[row, 0]
    # To the host at once: it waits for the device each time. Doubles hold all of them exactly.
    numbers = torch.stack([tokens.double(), chosen.double(), places.double()]).tolist()
    found, log_probabilities = list(map(int, numbers[0])), numbers[1]
    for index, place in enumerate(numbers[2]):
        if place >= head_size:
            node = rows[index]
            found[index] = _token_of_the_tail(
                scaled[node], order[node], normaliser[node], drawn[index] - cumulated[node, -1]
            )
            log_probabilities[index] = float(logits[node, found[index]] - total[node, 0])
    return found, log_probabilities


def _token_of_the_tail(
    scaled: "torch.Tensor",
    head: "torch.Tensor",
    normaliser: "torch.Tensor",
    remaining: "torch.Tensor",
) -> int:
    import torch

    probabilities = torch.exp(scaled.double() - normaliser.double())
    probabilities[head] = 0.0
    cumulated = probabilities.cumsum(dim=-1)
    token = int(torch.searchsorted(cumulated, remaining, right=True)[0])
    if token < len(cumulated):
        return token
    # Rounding can leave the number just above the sum; the likeliest token then.
    return int(head[0])
