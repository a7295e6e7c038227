"""Texts fed once behind their prompt, and what is asked of them: losses, ranks, continuations.

    fed row:      prefix | text part (… Output:) | x_0 x_1 … x_{n-2}
    states row:                             s-1     s   …      s+n-2     predict x_0 … x_{n-1}

The last token of a text is not fed: no branch starts behind it.
"""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate, groupby

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from toolformer.forward.model import Branch, Continuation, Place
from toolformer.forward.network import Network
from toolformer.forward.next_tokens import ranks, sample_tokens
from toolformer.forward.own_rows import OwnRows
from toolformer.forward.prompt import SplitPrompt
from toolformer.forward.rows import Rows
from toolformer.forward.shared_rows import SharedRows
from toolformer.forward.windows import Window


class ReadTexts:
    """A batch of windows behind one prompt."""

    def __init__(self, model: Network, prompt: str | None, windows: Sequence[Window]):
        """Feed the windows, padded to the longest; see `Model.read`."""
        self._model = model
        before = rows_before_texts(model, prompt)
        parts = [_text_part_ids(model, prompt, window.text) for window in windows]
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

    def losses(
        self,
        places: Sequence[tuple[Place, int]],
        *,
        min_probability: float = 0.0,  # noqa: ARG002
        most: int | None = None,  # noqa: ARG002
    ) -> list[float]:
        """See `Texts.losses`; all are computed."""
        if not places:
            return []
        tokens = torch.tensor([token for _, token in places], device=self._model.device)
        with torch.inference_mode():
            states = self._states_at([place for place, _ in places])
            return losses_of_states(self._model, states, tokens)

    def ranks(self, places: Sequence[Place], token: int) -> list[tuple[int, float]]:
        """See `Texts.ranks`."""
        if not places:
            return []
        with torch.inference_mode():
            chunks = self._states_at(places).split(self._model.logit_rows)
            found = [torch.stack(ranks(self._model.logits(each), token), dim=1) for each in chunks]
            return [(int(rank), own) for rank, own in torch.cat(found).tolist()]

    def sample(
        self,
        places: Sequence[Place],
        groups: Sequence[Sequence[Branch]],
        *,
        forced_ids: Sequence[int],
        max_new_tokens: int,
        temperature: float,
        is_finished: Callable[[Branch], bool],
    ) -> None:
        """See `Texts.sample`."""
        with torch.inference_mode():
            sample_branches(
                self._model,
                self.rows_at(places, shares=True),
                groups,
                forced_ids=forced_ids,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                is_finished=is_finished,
            )

    def continuation_losses(self, continuations: Sequence[Continuation]) -> list[list[float]]:
        """See `Texts.continuation_losses`; they are fed as one batch."""
        tokens = [token for each in continuations for token in each.following]
        rows = self.rows_at([each.place for each in continuations])
        states = rows.read([each.fed for each in continuations])
        followed = zip(states, continuations, strict=True)
        with torch.inference_mode():
            behind = torch.cat([of_row[-len(each.following) :] for of_row, each in followed])
            wanted = torch.tensor(tokens, device=self._model.device)
            losses = iter(losses_of_states(self._model, behind, wanted))
        return [[next(losses) for _ in each.following] for each in continuations]

    def contexts(self, places: Sequence[Place]) -> Rows:
        """See `Texts.contexts`."""
        return self.rows_at(places)

    def _states_at(self, places: Sequence[Place]) -> torch.Tensor:
        chosen = [self._firsts[row] + position for row, position in places]
        return self._states[torch.tensor(chosen, device=self._model.device)]

    def rows_at(self, places: Sequence[Place], *, shares: bool = False) -> Rows:
        """Rows that go on from places; see `Rows.fork`."""
        lengths = [self._starts[row] + position for row, position in places]
        return self._rows.fork([row for row, _ in places], lengths, shares=shares)


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
    states: torch.Tensor,
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


def _text_part_ids(model: Network, prompt: str | None, text: str) -> list[int]:
    """Tokens between the shared part and the text's own tokens; at least one."""
    if prompt is None:
        return [model.bos_id]
    return SplitPrompt.of(prompt).text_part_ids(model.tokenizer, text)


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
