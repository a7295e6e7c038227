"""Many short continuations of one text, decoded together over its shared keys and values.

    keys:     prompt prefix | text part | x_0 x_1 … x_{n-1} | [ Tool (  …forced | sampled …
    branch b at position p sees |<------- up to x_{p-1} --->|  and its own tokens only

This is the form that works with any model class: one row per text, all its branches side by side
in it, and a 4-D mask that shows each branch its own past. Does not choose positions and does not
parse what was sampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from toolformer.language_model import LanguageModel

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache

# Sampling cumulates the probabilities of this many tokens in descending order and treats the rest
# as one bucket: summing a whole vocabulary in id order loses the last digits that make a sample
# the same in every batching.
_HEAD_TOKENS = 256


class StopRule(Protocol):
    """Tells when a branch needs no further token."""

    def is_finished(self, token_texts: Sequence[str]) -> bool:
        """Whether the sampled tokens so far close the call, or can no longer become one."""
        ...


@dataclass(slots=True)
class Branch:
    """One continuation.

    Attributes:
        row: the text's row in the batch.
        visible: how many keys of that row it sees, prompt included: all before its position.
        uniforms: its random numbers in [0, 1), one per token; shape `(most tokens,)`.
        tokens: what has been sampled.
        log_probability: sum over the sampled tokens, at temperature 1, in nats.
    """

    row: int
    visible: int
    uniforms: np.ndarray
    tokens: list[int] = field(default_factory=list)
    token_texts: list[str] = field(default_factory=list)
    log_probability: float = 0.0
    is_finished: bool = False


def sample_branches(
    model: LanguageModel,
    cache: "DynamicCache",
    branches: Sequence[Sequence[Branch]],
    *,
    forced_ids: Sequence[int],
    max_new_tokens: int,
    temperature: float,
    stop_rule: StopRule,
) -> None:
    """Sample all branches to their end; they are filled in place.

    Args:
        model: the annotating model.
        cache: keys and values of prompt and text, one row per text. It grows and is of no use
            afterwards.
        branches: per chosen position the m branches that start there. All of one position share
            the forced tokens, which are fed once.
        forced_ids: tokens that open the call (` [Tool(`).
        max_new_tokens: most sampled tokens of a branch.
        temperature: of the sampling distribution; 1 is the model's own.
        stop_rule: when a branch is finished.

    Paper: §2, "Sampling API Calls"; spec §1.4.
    """
    import torch

    groups = [group for group in branches if group]
    if not groups:
        return
    state = _SharedCache(model, cache)
    rows = [group[0].row for group in groups]
    # One pass for the forced tokens of all positions.
    queries = [
        _Query(row, group[0].visible, group[0].visible + step, token, index)
        for index, (row, group) in enumerate(zip(rows, groups, strict=True))
        for step, token in enumerate(forced_ids)
    ]
    hidden = state.feed(queries)
    last = torch.arange(len(forced_ids) - 1, len(queries), len(forced_ids), device=model.device)
    logits = model.logits(hidden[last])
    members = [(index, branch) for index, group in enumerate(groups) for branch in group]
    logits = logits[torch.tensor([index for index, _ in members], device=model.device)]
    # From here on every branch has a past of its own, which begins as its position's.
    state.fork([index for index, _ in members])
    active = list(range(len(members)))
    for step in range(max_new_tokens):
        uniforms = np.array([members[index][1].uniforms[step] for index in active])
        tokens, log_probabilities = sample_tokens(logits, uniforms, temperature=temperature)
        for index, token, log_probability in zip(active, tokens, log_probabilities, strict=True):
            branch = members[index][1]
            branch.tokens.append(token)
            branch.token_texts.append(model.tokenizer.token_text(token))
            branch.log_probability += log_probability
            branch.is_finished = stop_rule.is_finished(branch.token_texts)
        active = [index for index in active if not members[index][1].is_finished]
        if not active or step == max_new_tokens - 1:
            return
        queries = [
            _Query(
                members[index][1].row,
                members[index][1].visible,
                members[index][1].visible + len(forced_ids) + step,
                members[index][1].tokens[-1],
                index,
            )
            for index in active
        ]
        logits = model.logits(state.feed(queries))


def sample_tokens(
    logits: "torch.Tensor", uniforms: np.ndarray, *, temperature: float
) -> tuple[list[int], list[float]]:
    """Draw one token per row by inverting the cumulative distribution at a given number.

    Args:
        logits: float32, shape `(rows, vocabulary)`.
        uniforms: in [0, 1), shape `(rows,)`.
        temperature: above 0.

    Returns:
        Tokens, and their log-probabilities at temperature 1 in nats.
    """
    import torch

    scaled = logits / temperature
    normaliser = torch.logsumexp(scaled, dim=-1, keepdim=True)
    head_size = min(_HEAD_TOKENS, logits.shape[-1])
    top, order = torch.topk(scaled, head_size, dim=-1)
    cumulated = torch.exp(top.double() - normaliser.double()).cumsum(dim=-1)
    drawn = torch.from_numpy(uniforms).to(logits.device)[:, None]
    places = torch.searchsorted(cumulated, drawn, right=True)[:, 0]
    tokens = order.gather(1, places.clamp(max=head_size - 1)[:, None])[:, 0]
    for row in torch.nonzero(places >= head_size)[:, 0].tolist():
        tokens[row] = _token_of_the_tail(
            scaled[row], order[row], normaliser[row], drawn[row] - cumulated[row, -1]
        )
    chosen = logits.gather(1, tokens[:, None])[:, 0] - torch.logsumexp(logits, dim=-1)
    return tokens.tolist(), chosen.tolist()


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
    place = int(torch.searchsorted(cumulated, remaining, right=True)[0])
    if place < len(cumulated):
        return place
    # Rounding can leave the number just above the sum; the likeliest token then.
    return int(head[0])


@dataclass(frozen=True, slots=True)
class _Query:
    """One token to feed: its row, what it sees of the row's text, its place, and whose it is."""

    row: int
    visible: int
    position: int
    token: int
    owner: int


class _SharedCache:
    """The cache of a batch of texts, and who may see which of its appended keys."""

    def __init__(self, model: LanguageModel, cache: "DynamicCache"):
        import torch

        self._model = model
        self._cache = cache
        first_layer: Any = cache.layers[0]
        self._rows = int(first_layer.keys.shape[0])
        self._base_length = cache.get_seq_length()
        # owners[row, key]: the owner of each appended key; -1 is padding.
        self._owners = torch.empty((self._rows, 0), dtype=torch.long)
        self._parents: list[int] | None = None

    def fork(self, parents: Sequence[int]) -> None:
        """From now on owner `b` sees its own keys and those of its parent's earlier ones."""
        self._parents = list(parents)
        # Keys appended so far belong to the parents; renumber them out of the way of the children.
        self._owners = _as_parent_keys(self._owners)

    def feed(self, queries: Sequence[_Query]) -> "torch.Tensor":
        """Feed one token per query; hidden states in query order, shape `(queries, hidden)`."""
        import torch

        slots: list[int] = []
        used = [0] * self._rows
        for query in queries:
            slots.append(used[query.row])
            used[query.row] += 1
        width = max(used)
        keys_before = self._base_length + self._owners.shape[1]
        row_index = torch.tensor([query.row for query in queries])
        slot_index = torch.tensor(slots)
        input_ids = torch.zeros((self._rows, width), dtype=torch.long)
        input_ids[row_index, slot_index] = torch.tensor([query.token for query in queries])
        position_ids = torch.zeros((self._rows, width), dtype=torch.long)
        position_ids[row_index, slot_index] = torch.tensor([query.position for query in queries])
        appended = torch.full((self._rows, width), -1, dtype=torch.long)
        appended[row_index, slot_index] = torch.tensor([query.owner for query in queries])
        self._owners = torch.cat([self._owners, appended], dim=1)

        visible = torch.zeros((self._rows, width, keys_before + width), dtype=torch.bool)
        # Padding sees the first key only: a row of nothing would turn into NaN.
        visible[:, :, 0] = True
        seen = torch.tensor([query.visible for query in queries])
        base = torch.arange(self._base_length)[None, :] < seen[:, None]
        owner = torch.tensor([query.owner for query in queries])
        owners_of_row = self._owners[row_index]
        own = owners_of_row == owner[:, None]
        if self._parents is not None:
            parent = torch.tensor([_parent_key(self._parents[query.owner]) for query in queries])
            own |= owners_of_row == parent[:, None]
        # Not the tokens of its own that are fed in this very step to the right of it.
        key_slot = torch.arange(own.shape[1])[None, :] - (own.shape[1] - width)
        own &= key_slot <= slot_index[:, None]
        visible[row_index, slot_index] = torch.cat([base, own], dim=1)

        model = self._model
        dtype = model.model.dtype
        mask = torch.zeros(visible.shape, dtype=dtype).masked_fill_(
            ~visible, torch.finfo(dtype).min
        )
        hidden = model.hidden_states(
            input_ids.to(model.device),
            cache=self._cache,
            attention_mask=mask[:, None].to(model.device),
            position_ids=position_ids.to(model.device),
        )
        return hidden[row_index.to(model.device), slot_index.to(model.device)]


def _parent_key(parent: int) -> int:
    """The number of a parent's keys, apart from the children's (0, 1, …) and padding (-1)."""
    return -2 - parent


def _as_parent_keys(owners: "torch.Tensor") -> "torch.Tensor":
    import torch

    return torch.where(owners >= 0, -2 - owners, owners)
