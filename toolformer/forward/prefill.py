"""Texts fed once behind their prompt, and what is asked of them: losses, ranks, continuations.

    fed row:      prefix | text part (… Output:) | x_0 x_1 … x_{n-2}
    states row:                             s-1     s   …      s+n-2     predict x_0 … x_{n-1}

The last token of a text is not fed: no branch starts behind it.
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
    """A batch of windows behind one prompt."""

    def __init__(self, model: Network, prompt: str | None, windows: Sequence[Window]):
        """Feed the windows, padded to the longest; see `Model.read`."""
        self._model = model
        before = rows_before_texts(model, prompt)
        # Between the shared part and each text's own tokens; at least one.
        parts = [
            [model.bos_id]
            if prompt is None
            else SplitPrompt.of(prompt).text_part_ids(model.tokenizer, window.text)
            for window in windows
        ]
        self._starts = [before.length(0) + len(part) for part in parts]
        self._rows = before.fork([0] * len(windows))
        states = self._rows.read(
            [[*part, *window.ids[:-1]] for part, window in zip(parts, windows, strict=True)]
        )
        # The states that predict the windows' tokens, those of a window behind those of the last,
        # shape `(tokens, hidden)`, and where each window's begin.
        self._states = torch.cat(
            [each[len(part) - 1 :] for each, part in zip(states, parts, strict=True)]
        )
        self._firsts = [0, *accumulate(len(window.ids) for window in windows)]

    def losses(self, places: Sequence[tuple[TextPosition, int]], **_: object) -> list[float]:
        """See `Texts.losses`; all are computed."""
        if not places:
            return []
        tokens = torch.tensor([token for _, token in places], device=self._model.device)
        with torch.inference_mode():
            states = self._states_at([place for place, _ in places])
            return losses_of_states(self._model, states, tokens)

    def ranks(self, places: Sequence[TextPosition], token: int) -> list[tuple[int, float]]:
        """See `Texts.ranks`."""
        if not places:
            return []
        with torch.inference_mode():
            chunks = self._states_at(places).split(self._model.logit_rows)
            found = [torch.stack(ranks(self._model.logits(each), token), dim=1) for each in chunks]
            return [(int(rank), own) for rank, own in torch.cat(found).tolist()]

    def sample(
        self,
        places: Sequence[TextPosition],
        groups: Sequence[Sequence[Branch]],
        *,
        forced_ids: Sequence[int],
        max_new_tokens: int,
        temperature: float,
        may_finish: Callable[[int], bool],
        is_finished: Callable[[Branch], bool],
    ) -> None:
        """See `Texts.sample`.

        Branches with the same tokens so far are one node, which is fed once:

            step 0:  forced ` [Tool(`        one node per chosen position, all its branches in it
            step 1:  ` 2`, ` 2`, ` 17`       two nodes
            step 2:  …                       finished branches have left
        """
        model = self._model
        branches = [branch for group in groups for branch in group]
        uniforms = np.stack([branch.uniforms[:max_new_tokens] for branch in branches])
        tokens, log_probabilities = np.zeros(uniforms.shape, dtype=int), np.zeros(len(branches))
        # Of each token of the vocabulary; -1 before it is drawn.
        may_end = np.full(model.text_config.vocab_size, -1, dtype=np.int8)

        def fill(index: int, count: int) -> Branch:
            branch = branches[index]
            branch.tokens = tokens[index, :count].tolist()
            branch.token_texts = list(map(model.tokenizer.token_text, branch.tokens))
            branch.log_probability = float(log_probabilities[index])
            return branch

        # The branches that go on, in the order of their nodes, and these.
        active = np.arange(len(branches))
        nodes = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        with torch.inference_mode():
            rows = self.contexts(places, shares=True)
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
        """See `Texts.continuation_losses`; they are fed as one batch."""
        tokens = [token for each in continuations for token in each.following]
        rows = self.contexts([each.place for each in continuations])
        states = rows.read([each.fed for each in continuations])
        followed = zip(states, continuations, strict=True)
        with torch.inference_mode():
            behind = torch.cat([of_row[-len(each.following) :] for of_row, each in followed])
            wanted = torch.tensor(tokens, device=self._model.device)
            losses = iter(losses_of_states(self._model, behind, wanted))
        return [[next(losses) for _ in each.following] for each in continuations]

    def contexts(self, places: Sequence[TextPosition], *, shares: bool = False) -> Rows:
        """See `Texts.contexts` and, of `shares`, `Rows.fork`."""
        lengths = [self._starts[row] + position for row, position in places]
        return self._rows.fork([row for row, _ in places], lengths, shares=shares)

    def _states_at(self, places: Sequence[TextPosition]) -> torch.Tensor:
        chosen = [self._firsts[row] + position for row, position in places]
        return self._states[torch.tensor(chosen, device=self._model.device)]


def _draw(
    model: Network,
    states: torch.Tensor,
    nodes: np.ndarray,
    uniforms: np.ndarray,
    temperature: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The next token of every branch with its log-probability, some nodes at a time.

    Args:
        states: shape `(nodes, hidden)`.
        nodes, uniforms: of each branch, in the order of the nodes; shape `(branches,)`.
    """
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
    """Number the distinct pairs of node and token in the order of their first branches.

    Returns:
        The number of each branch's pair, and the first branch of each pair.

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
    """So many rows without tokens."""
    return (OwnRows if model.is_plain else SharedRows)(model, rows)


def rows_before_texts(model: Network, prompt: str | None) -> Rows:
    """A prompt's part in front of its slot, fed once for all shards that a model is held for.

    An annotator that is a Toolformer already needs no prompt: there is nothing in front then.
    """
    if prompt not in model.prefixes:
        before = new_rows(model, 1)
        if prompt is not None:
            shared = SplitPrompt.of(prompt).shared_ids(model.tokenizer)
            before.feed([[*model.prompt_start, *shared]])
        model.prefixes[prompt] = before
    return model.prefixes[prompt]


def losses_of_states(
    model: Network, states: torch.Tensor, tokens: torch.Tensor, *, banned: int | None = None
) -> list[float]:
    """Losses of tokens by the states that predict them, in nats.

    Args:
        states: shape `(tokens, hidden)`.
        tokens: int, shape `(tokens,)`, on the same device.
        banned: see `Model.losses_at`.
    """
    chunks = zip(*(each.split(model.logit_rows) for each in (states, tokens)), strict=True)
    # To the host at once: it waits for the device each time.
    return torch.cat(
        [
            cross_entropy(without(banned, model.logits(each)), of_each, reduction="none")
            for each, of_each in chunks
        ]
    ).tolist()


def without(banned: int | None, logits: torch.Tensor) -> torch.Tensor:
    """Logits, shape `(..., vocabulary)`, by which a token has no chance."""
    if banned is None:
        return logits
    return logits.index_fill(-1, torch.tensor([banned], device=logits.device), -math.inf)
