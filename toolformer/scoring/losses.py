"""Scores calls as prefixes of their texts (paper §2, "Filtering API Calls").

A call z at position p of a text x is put before the whole text:

    ids:     BOS | z_1 … z_l | x_0 … x_{p+3}
    index:    0    1  …   l    l+1 …

The logits at index l+p+t predict x_{p+t} for t = 0 … 4. The token x_{p+4} is only predicted, so it
is not fed. The few-shot prompt is not fed either. Only losses that can still change a decision are
computed.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from toolformer.forward.batching import feed_in_halves, plan_batches
from toolformer.forward.model import Model
from toolformer.forward.windows import Window, WindowKey
from toolformer.loss_weights import weighted_loss
from toolformer.scoring.call_scorer import AllLosses, CallScorer, Losses, ScoredCall, ScoringPass
from toolformer.scoring.inline_losses import InlineScorer
from toolformer.settings.annotation_sections import ScoringSettings
from tools.protocol import ToolCall


def scorer_for(
    model: Model, windows: Mapping[WindowKey, Window], scoring: ScoringSettings
) -> CallScorer:
    is_inline = scoring.placement == "inline"
    return (InlineScorer if is_inline else PrefixScorer)(model, windows, scoring)


@dataclass(frozen=True, slots=True)
class _Row:
    """One sequence to feed, and the text positions, ascending, whose losses it yields."""

    prefix: list[int]
    text: tuple[int, ...]
    positions: list[int]


class TextLosses:
    """L_i(ε) for all positions of all windows of a shard.

    Batches depend only on the shard's windows, so a window's losses are the same whichever tools
    and calls need them. `is_regrouped` is true if memory ran out and batches were halved.
    """

    def __init__(self, model: Model, windows: Sequence[Window], *, token_budget: int | None = None):
        self._model = model
        self._windows = windows
        self.is_regrouped = False
        lengths = [len(window.ids) for window in windows]
        token_budget = token_budget or model.batch_tokens(window_tokens=max(lengths, default=0))
        self._batch_of = {
            windows[index].key: tuple(batch)
            for batch in plan_batches(lengths, token_budget=token_budget)
            for index in batch
        }
        self._losses: dict[WindowKey, list[float]] = {}

    def token_losses(self, window: WindowKey) -> list[float]:
        """Return -log p(x_j | BOS, x_{<j}) for all tokens of a window, in nats."""
        self.read([window])
        return self._losses[window]

    def read(self, windows: Iterable[WindowKey]) -> None:
        batches = dict.fromkeys(
            self._batch_of[window] for window in windows if window not in self._losses
        )
        for batch in batches:
            losses, is_halved = feed_in_halves(
                [list(self._windows[index].ids) for index in batch],
                lambda texts: token_losses(self._model, texts),
            )
            self.is_regrouped |= is_halved
            for index, window_losses in zip(batch, losses, strict=True):
                self._losses[self._windows[index].key] = window_losses


def token_losses(
    model: Model, texts: Sequence[Sequence[int]], *, banned: int | None = None
) -> list[list[float]]:
    """Return the loss in nats of each token of texts without start tokens, fed as one batch."""
    rows = [[model.bos_id, *ids[:-1]] for ids in texts]
    targets = [
        (row, position, ids[position])
        for row, ids in enumerate(texts)
        for position in range(len(ids))
    ]
    # The start token shifts the row by one, so the logits at `position` predict ids[position].
    losses = iter(model.losses_at(rows, targets, banned=banned))
    return [[next(losses) for _ in ids] for ids in texts]


class PrefixScorer(CallScorer):
    """Scores calls as prefixes; equal calls of a window share one row."""

    @cached_property
    def text_losses(self) -> TextLosses:
        """L_i(ε) of the windows, computed on demand and once for all tools."""
        return TextLosses(
            self.model, list(self.windows.values()), token_budget=self.scoring.token_budget
        )

    def _all_losses(
        self, calls: Sequence[ScoredCall], exact: Collection[str], work: ScoringPass
    ) -> AllLosses:
        return self._pruned(
            calls,
            self._losses_without_call(calls, work),
            exact,
            lambda subset, has_result: self._losses(subset, work, has_result=has_result),
        )

    def _result_losses(self, calls: Sequence[ScoredCall], work: ScoringPass) -> Losses:
        return self._losses(calls, work, has_result=True)

    def _losses_without_call(self, calls: Sequence[ScoredCall], work: ScoringPass) -> Losses:
        text_losses = self.text_losses

        def compute() -> Losses:
            text_losses.read(call.window for call in calls)
            return {
                call.call_id: weighted_loss(
                    text_losses.token_losses(call.window)[call.position :], self.weights
                )
                for call in calls
            }

        losses = work.checkpoint.step("without-call", compute)
        # All tools share these batches. This step records for the metadata of the current tool that
        # they were halved.
        work.checkpoint.step("texts-regrouped", lambda: text_losses.is_regrouped)
        return losses

    def _losses(
        self, calls: Sequence[ScoredCall], work: ScoringPass, *, has_result: bool
    ) -> Losses:
        rows, row_of_call = self._plan_rows(calls, has_result=has_result)
        losses: dict[tuple[int, int], float] = {}
        batches = work.in_batches(
            # The row has a start token but not the text's last token.
            [len(row.prefix) + len(row.text) for row in rows],
            lambda batch: self._score_batch([rows[index] for index in batch]),
            label="with-result" if has_result else "without-result",
        )
        for batch, batch_losses in batches:
            for index, row_losses in zip(batch, batch_losses, strict=True):
                for position, loss in zip(rows[index].positions, row_losses, strict=True):
                    losses[index, position] = loss
        return {call.call_id: losses[row_of_call[call.call_id], call.position] for call in calls}

    def _plan_rows(
        self, calls: Sequence[ScoredCall], *, has_result: bool
    ) -> tuple[list[_Row], dict[str, int]]:
        positions: dict[tuple[WindowKey, ToolCall, str | None], set[int]] = {}
        for call in calls:
            key = (call.window, call.call, call.result if has_result else None)
            positions.setdefault(key, set()).add(call.position)
        index_of = {key: index for index, key in enumerate(positions)}
        rows = []
        for (window, call, result), row_positions in positions.items():
            text = self.windows[window].ids[: max(row_positions) + len(self.weights)]
            prefix = self.call_ids(call, result, text_tokens=len(text))
            rows.append(_Row(prefix, text, sorted(row_positions)))
        return rows, {
            call.call_id: index_of[call.window, call.call, call.result if has_result else None]
            for call in calls
        }

    def _score_batch(self, rows: Sequence[_Row]) -> list[list[float]]:
        wanted = [
            (index, position)
            for index, row in enumerate(rows)
            for position in sorted({p for at in row.positions for p in self._weighted(row, at)})
        ]
        position_losses = self.model.losses_at(
            [[self.model.bos_id, *row.prefix, *row.text[:-1]] for row in rows],
            [
                (index, len(rows[index].prefix) + position, rows[index].text[position])
                for index, position in wanted
            ],
        )
        losses = dict(zip(wanted, position_losses, strict=True))
        return [
            [
                weighted_loss([losses[index, p] for p in self._weighted(row, at)], self.weights)
                for at in row.positions
            ]
            for index, row in enumerate(rows)
        ]

    def _weighted(self, row: _Row, position: int) -> range:
        """Return the positions of the tokens that carry weight for a call at `position`."""
        return range(position, min(position + len(self.weights), len(row.text)))
