"""Prefills texts after their prompt, then computes losses, ranks and continuations from them.

fed row:      prefix | text part (… Output:) | x_0 x_1 … x_{n-2}
states row:                             s-1     s   …      s+n-2     predict x_0 … x_{n-1}
"""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from toolformer.forward.model import Branch, Continuation, TextPosition
from toolformer.forward.network import Network
from toolformer.forward.next_tokens import ranks, sample_tokens
from toolformer.forward.own_rows import OwnRows
from toolformer.forward.rows import Rows
from toolformer.forward.shared_rows import SharedRows
from toolformer.forward.windows import SplitPrompt, Window


class ReadTexts:
    """Batch of windows after one prompt; implements `toolformer.forward.model.Texts`."""

    def __init__(self, model: Network, prompt: str | None, windows: Sequence[Window]):
        self._model = model
        prefix = rows_before_texts(model, prompt)
        # At least one token between the shared prefix and the tokens of each window.
        text_parts = [
            [model.bos_id]
            if prompt is None
            else SplitPrompt.of(prompt).text_part_ids(model.tokenizer, window.text)
            for window in windows
        ]
        self._starts = [prefix.length(0) + len(part) for part in text_parts]
        self._rows = prefix.fork([0] * len(windows))
        states = self._rows.read(
            [[*part, *window.ids[:-1]] for part, window in zip(text_parts, windows, strict=True)]
        )
        # The states that predict the windows' tokens, concatenated window by window, shape
        # `(tokens, hidden)`; `_firsts` holds the index of each window's first state.
        self._states = torch.cat(
            [each[len(part) - 1 :] for each, part in zip(states, text_parts, strict=True)]
        )
        self._firsts = [0, *accumulate(len(window.ids) for window in windows)]

    def losses(self, targets: Sequence[tuple[TextPosition, int]], **_: object) -> list[float]:
        """Return the losses of all targets; the limits of `Texts.losses` are ignored."""
        if not targets:
            return []
        tokens = torch.tensor([token for _, token in targets], device=self._model.device)
        with torch.inference_mode():
            states = self._states_at([position for position, _ in targets])
            return losses_of_states(self._model, states, tokens)

    def ranks(self, positions: Sequence[TextPosition], token: int) -> list[tuple[int, float]]:
        if not positions:
            return []
        with torch.inference_mode():
            chunks = self._states_at(positions).split(self._model.logit_rows)
            found = [torch.stack(ranks(self._model.logits(each), token), dim=1) for each in chunks]
            return [(int(rank), own) for rank, own in torch.cat(found).tolist()]

    def sample(
        self,
        positions: Sequence[TextPosition],
        groups: Sequence[Sequence[Branch]],
        *,
        forced_ids: Sequence[int],
        max_new_tokens: int,
        temperature: float,
        may_finish: Callable[[int], bool],
        is_finished: Callable[[Branch], bool],
    ) -> None:
        """See `Texts.sample`. Branches with equal tokens so far share a node, which is fed once.

        step 0:  forced ` [Tool(`        one node per position, with all its branches
        step 1:  ` 2`, ` 2`, ` 17`       two nodes
        step 2:  …                       finished branches are no longer fed
        """
        model = self._model
        branches = [branch for group in groups for branch in group]
        uniforms = np.stack([branch.uniforms[:max_new_tokens] for branch in branches])
        tokens, log_probabilities = np.zeros(uniforms.shape, dtype=int), np.zeros(len(branches))
        # Cached `may_finish` per token of the vocabulary; -1 until the token is sampled.
        may_end = np.full(model.text_config.vocab_size, -1, dtype=np.int8)

        def fill(index: int, count: int) -> Branch:
            branch = branches[index]
            branch.tokens = tokens[index, :count].tolist()
            branch.token_texts = list(map(model.tokenizer.token_text, branch.tokens))
            branch.log_probability = float(log_probabilities[index])
            return branch

        # Indices of unfinished branches, ordered by node, and the node of each.
        active = np.arange(len(branches))
        nodes = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        with torch.inference_mode():
            rows = self.contexts(positions, shares=True)
            states = rows.feed([forced_ids] * len(groups))
            for step in range(max_new_tokens):
                newest, chosen = _draw(model, states, nodes, uniforms[active, step], temperature)
                tokens[active, step] = newest
                log_probabilities[active] += chosen
                for token in np.unique(newest[may_end[newest] < 0]).tolist():
                    may_end[token] = may_finish(token)
                goes_on = may_end[newest] == 0
                for at in np.flatnonzero(~goes_on):
                    branch = fill(active[at], step + 1)
                    branch.is_finished = is_finished(branch)
                    goes_on[at] = not branch.is_finished
                active, nodes, newest = active[goes_on], nodes[goes_on], newest[goes_on]
                if not len(active) or step == max_new_tokens - 1:
                    break
                of_branch, first = _distinct(nodes, newest)
                rows = rows.fork(nodes[first].tolist(), shares=True)
                states = rows.feed(newest[first, None].tolist())
                by_node = of_branch.argsort(kind="stable")
                active, nodes = active[by_node], of_branch[by_node]
        for index in active.tolist():
            fill(index, max_new_tokens)

    def continuation_losses(self, continuations: Sequence[Continuation]) -> list[list[float]]:
        """See `Texts.continuation_losses`; the continuations are fed as one batch."""
        tokens = [token for each in continuations for token in each.following]
        rows = self.contexts([each.place for each in continuations])
        states = rows.read([each.fed for each in continuations])
        pairs = zip(states, continuations, strict=True)
        with torch.inference_mode():
            predicting = torch.cat([of_row[-len(each.following) :] for of_row, each in pairs])
            wanted = torch.tensor(tokens, device=self._model.device)
            losses = iter(losses_of_states(self._model, predicting, wanted))
        return [[next(losses) for _ in each.following] for each in continuations]

    def contexts(self, positions: Sequence[TextPosition], *, shares: bool = False) -> Rows:
        """See `Texts.contexts`; for `shares` see `Rows.fork`."""
        lengths = [self._starts[row] + position for row, position in positions]
        return self._rows.fork([row for row, _ in positions], lengths, shares=shares)

    def _states_at(self, positions: Sequence[TextPosition]) -> torch.Tensor:
        chosen = [self._firsts[row] + position for row, position in positions]
        return self._states[torch.tensor(chosen, device=self._model.device)]


def _draw(
    model: Network,
    states: torch.Tensor,
    nodes: np.ndarray,
    uniforms: np.ndarray,
    temperature: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the next token and its log-probability per branch, computed in chunks of nodes."""
    size = model.logit_rows
    edges = np.searchsorted(nodes, range(size, len(states), size))
    chunks = zip(states.split(size), np.split(nodes, edges), np.split(uniforms, edges), strict=True)
    drawn = [
        sample_tokens(
            model.logits(of_chunk), numbers, rows=rows - index * size, temperature=temperature
        )
        for index, (of_chunk, rows, numbers) in enumerate(chunks)
    ]
    tokens, log_probabilities = zip(*drawn, strict=True)
    return np.concatenate(tokens), np.concatenate(log_probabilities)


def _distinct(nodes: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each branch's index of its (node, token) pair, and each pair's first branch.

    Example:
        >>> numbers, first = _distinct(np.array([0, 0, 0, 1]), np.array([7, 5, 7, 7]))
        >>> numbers.tolist(), first.tolist()
        ([0, 1, 0, 2], [0, 1, 3])
    """
    pairs = nodes * (tokens.max() + 1) + tokens
    _, first, number = np.unique(pairs, return_index=True, return_inverse=True)
    order = first.argsort()
    return order.argsort()[number], first[order]


def new_rows(model: Network, rows: int) -> Rows:
    return (OwnRows if model.is_plain else SharedRows)(model, rows)


def rows_before_texts(model: Network, prompt: str | None) -> Rows:
    """Return a row with the prompt's prefix, fed once per model; it is empty without a prompt."""
    if prompt not in model.prefixes:
        prefix = new_rows(model, 1)
        if prompt is not None:
            shared = SplitPrompt.of(prompt).shared_ids(model.tokenizer)
            prefix.feed([[*model.prompt_start, *shared]])
        model.prefixes[prompt] = prefix
    return model.prefixes[prompt]


def losses_of_states(
    model: Network, states: torch.Tensor, tokens: torch.Tensor, *, banned: int | None = None
) -> list[float]:
    """Return the losses of tokens from the states that predict them, shape `(tokens, hidden)`."""
    chunks = zip(*(each.split(model.logit_rows) for each in (states, tokens)), strict=True)
    # Copied to the host once, because each copy waits for the device.
    return torch.cat(
        [
            cross_entropy(without(banned, model.logits(each)), of_each, reduction="none")
            for each, of_each in chunks
        ]
    ).tolist()


def without(banned: int | None, logits: torch.Tensor) -> torch.Tensor:
    """Return logits of shape `(..., vocabulary)` with the banned token set to -inf."""
    if banned is None:
        return logits
    return logits.index_fill(-1, torch.tensor([banned], device=logits.device), -math.inf)
