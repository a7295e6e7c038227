"""The three losses of every call (paper §2, "Filtering API Calls"; spec §1.6).

In the paper's form the call stands as a prefix z before the whole text, after the
beginning-of-sequence token; the few-shot prompt is not part of what is fed:

    ids:     BOS | z_1 … z_l | x_0 … x_{p+3}
    row:      0    1  …   l    l+1 …
    logits row l+p+t predicts x_{p+t}, t = 0 … 4; x_{p+4} predicts nothing that is wanted: not fed

Computed are only those losses that can still change a decision. How a call is scored at its place
in the text is in `toolformer.inline_losses`. Does not decide; `toolformer.filtering` does.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from toolformer.call_scorer import AllLosses, CallScorer, Losses, Pruning, ScoringParameters
from toolformer.calls import prefix_ids
from toolformer.filtering import CallLosses
from toolformer.forward.batching import plan_batches
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.geometry import choose_pack_tokens, feed_in_halves
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.row_losses import SharedOpening, feed_opening, losses_at
from toolformer.forward.windows import Window
from toolformer.inline_losses import InlineScorer
from toolformer.loss_form import Placement
from toolformer.loss_weights import losses_of_positions, weighted_loss
from toolformer.scored_call import ScoredCall, WindowKey
from tools.protocol import ToolCall


@dataclass(frozen=True, slots=True)
class _Row:
    """One sequence to feed, and the positions whose losses are read from it."""

    prefix: tuple[int, ...]
    window: WindowKey
    positions: tuple[int, ...]
    weights: tuple[float, ...]

    def length(self, windows: Mapping[WindowKey, Window]) -> int:
        """Tokens fed: BOS, the prefix, and the text but its last token."""
        return len(self.prefix) + self.text_length(windows)

    def text_length(self, windows: Mapping[WindowKey, Window]) -> int:
        """Text tokens predicted: to the last weighted one of the last position."""
        return min(len(windows[self.window].ids), max(self.positions) + len(self.weights))


class TextLosses:
    """L_i(ε) for all positions of all windows of a shard, one pass per window for all tools.

    The batches follow from the shard's windows alone, so a window's losses do not depend on which
    tools or calls ask for them.

    Args:
        model: the scoring model.
        windows: of the shard.
        token_budget: most tokens of a batch; chosen for the device by default.
        start_losses: by token, its loss as the first of a text, in place of the model's own; see
            `toolformer.rescoring.start_token_losses`.

    Attributes:
        start_losses: as given.
        is_regrouped: whether memory ran out, so that batches were halved.
    """

    def __init__(
        self,
        model: LanguageModel,
        windows: Sequence[Window],
        *,
        token_budget: int | None = None,
        start_losses: Sequence[float] | None = None,
    ):
        self._model = model
        self._windows = windows
        self.start_losses = start_losses
        self.is_regrouped = False
        token_budget = token_budget or _token_budget(model, windows)
        batches = plan_batches(
            [len(window.ids) for window in windows],
            token_budget=token_budget,
            is_padded=not model.packs_rows,
        )
        self._batch_of = {
            (windows[index].document_id, windows[index].index): tuple(batch)
            for batch in batches
            for index in batch
        }
        self._losses: dict[WindowKey, list[float]] = {}

    def token_losses(self, window: WindowKey) -> list[float]:
        """-log p(x_j | BOS, x_{<j}) for all tokens of a window, in nats."""
        self.read([window])
        return self._losses[window]

    def read(self, windows: Iterable[WindowKey]) -> None:
        """Feed the batches of these windows that were not fed before."""
        batches = dict.fromkeys(
            self._batch_of[window] for window in windows if window not in self._losses
        )
        for batch in batches:
            losses, is_halved = feed_in_halves(
                [list(self._windows[index].ids) for index in batch],
                lambda texts: token_losses(self._model, texts),
            )
            self.is_regrouped |= is_halved
            for index, of_window in zip(batch, losses, strict=True):
                window = self._windows[index]
                if self.start_losses is not None:
                    of_window[:1] = [self.start_losses[token] for token in window.ids[:1]]
                self._losses[window.document_id, window.index] = of_window


def _token_budget(model: LanguageModel, windows: Iterable[Window]) -> int:
    longest = max((len(window.ids) for window in windows), default=0)
    return choose_pack_tokens(model, window_tokens=longest)


def token_losses(model: LanguageModel, texts: Sequence[Sequence[int]]) -> list[list[float]]:
    """Losses of all tokens of a batch of texts, in nats.

    Args:
        model: any.
        texts: token ids without a beginning-of-sequence token, which is put in front; fed as one
            batch.

    Returns:
        Shape `(texts, n)`, ragged.
    """
    rows = [[model.bos_id, *ids[:-1]] for ids in texts]
    places = [
        (row, place, ids[place]) for row, ids in enumerate(texts) for place in range(len(ids))
    ]
    # ids[place] stands at row place + 1, so logits row `place` predicts it.
    losses = iter(losses_at(model, rows, places))
    return [[next(losses) for _ in ids] for ids in texts]


def score_calls(
    model: LanguageModel,
    windows: Mapping[WindowKey, Window],
    text_losses: TextLosses,
    calls: Sequence[ScoredCall],
    *,
    parameters: ScoringParameters,
    pruning: Pruning,
    checkpoint: Checkpoint,
    progress: Callable[[int, int], None],
) -> dict[str, CallLosses]:
    """Losses of the calls of one tool.

    Args:
        model: the scoring model.
        windows: by document and number.
        text_losses: L_i(ε).
        calls: executed calls with their results.
        parameters: how they are scored.
        pruning: which losses are left out.
        checkpoint: keeps finished batches.
        progress: told rows done and rows in all; the total grows by the second kind of rows. Of
            calls at their places, texts.

    Returns:
        Losses by call.

    Raises:
        OutOfMemoryError: a single row does not fit the device's memory.
    """
    scorer = _scorer(model, windows, parameters, checkpoint, progress)
    found = scorer.score(calls, text_losses, pruning)
    return {
        call.call_id: CallLosses(
            loss_without_call=found.without_call[call.call_id],
            loss_with_result=found.with_result.get(call.call_id),
            loss_call_without_result=found.call_without_result.get(call.call_id),
            tokens_used=parameters.form.tokens_used(len(windows[call.window].ids), call.position),
        )
        for call in calls
    }


def losses_with_result(
    model: LanguageModel,
    windows: Mapping[WindowKey, Window],
    calls: Sequence[ScoredCall],
    *,
    parameters: ScoringParameters,
    checkpoint: Checkpoint,
    progress: Callable[[int, int], None],
) -> dict[str, float]:
    """L_i⁺ alone of the calls of one tool.

    Args:
        model, windows, parameters, checkpoint, progress: as for `score_calls`.
        calls: with the results that are scored.

    Returns:
        Losses by call, in nats.

    Raises:
        OutOfMemoryError: a single row does not fit the device's memory.
    """
    return _scorer(model, windows, parameters, checkpoint, progress).score_results(calls)


def _scorer(
    model: LanguageModel,
    windows: Mapping[WindowKey, Window],
    parameters: ScoringParameters,
    checkpoint: Checkpoint,
    progress: Callable[[int, int], None],
) -> CallScorer:
    # Stored, so that a resumed shard goes on with it, however much memory is free by then.
    geometry = checkpoint.step(
        "geometry",
        lambda: {"token_budget": parameters.token_budget or _token_budget(model, windows.values())},
    )
    scorer = InlineScorer if parameters.form.placement is Placement.INLINE else _RowScorer
    return scorer(
        model,
        windows,
        parameters.call_format,
        parameters.form.weights,
        geometry["token_budget"],
        checkpoint,
        progress,
    )


class _RowScorer(CallScorer):
    """Scores calls as prefixes: equal calls of a window share one row."""

    def score(
        self, calls: Sequence[ScoredCall], text_losses: TextLosses, pruning: Pruning
    ) -> AllLosses:
        """All losses that decisions need."""
        without_call = self._losses_without_call(calls, text_losses)
        promising = [
            call for call in calls if pruning.may_pass(call.call_id, without_call[call.call_id])
        ]
        with_result, rows_done = self._losses(promising, has_result=True)
        still_open = [
            call
            for call in promising
            if pruning.needs_call_alone(
                call.call_id, without_call[call.call_id] - with_result[call.call_id]
            )
        ]
        alone, _ = self._losses(still_open, has_result=False, rows_done=rows_done)
        return AllLosses(without_call, with_result, alone)

    def score_results(self, calls: Sequence[ScoredCall]) -> Losses:
        """L_i(e(c, r)) alone."""
        return self._losses(calls, has_result=True)[0]

    def _losses_without_call(self, calls: Sequence[ScoredCall], text_losses: TextLosses) -> Losses:
        def compute() -> Losses:
            text_losses.read(call.window for call in calls)
            return {
                call.call_id: losses_of_positions(
                    text_losses.token_losses(call.window), [call.position], self.weights
                )[0]
                for call in calls
            }

        losses = self.checkpoint.step("without-call", compute)
        # Its batches are those of the shard's texts, which no slice keeps.
        self.checkpoint.step("texts-regrouped", lambda: text_losses.is_regrouped)
        return losses

    def _losses(
        self, calls: Sequence[ScoredCall], *, has_result: bool, rows_done: int = 0
    ) -> tuple[Losses, int]:
        """The loss of every call at its position, with or without its result; and rows done."""
        rows, row_of_call = self._plan_rows(calls, has_result=has_result)
        rows_planned = rows_done + len(rows)
        opening = self._opening(rows)
        losses: dict[tuple[int, int], float] = {}
        batches = self.in_batches(
            [row.length(self.windows) for row in rows],
            lambda batch: self._score_batch([rows[index] for index in batch], opening()),
            label="with-result" if has_result else "without-result",
        )
        for batch, of_batch in batches:
            for index, of_row in zip(batch, of_batch, strict=True):
                for position, loss in zip(rows[index].positions, of_row, strict=True):
                    losses[index, position] = loss
            rows_done += len(batch)
            self.progress(rows_done, rows_planned)
        of_calls = {
            call.call_id: losses[row_of_call[call.call_id], call.position] for call in calls
        }
        return of_calls, rows_done

    def _plan_rows(
        self, calls: Sequence[ScoredCall], *, has_result: bool
    ) -> tuple[list[_Row], dict[str, int]]:
        positions: dict[tuple[WindowKey, ToolCall, str | None], set[int]] = {}
        for call in calls:
            key = (call.window, call.call, call.result if has_result else None)
            positions.setdefault(key, set()).add(call.position)
        index_of = {key: index for index, key in enumerate(positions)}
        rows = [
            _Row(
                tuple(prefix_ids(self.model.tokenizer, call, result, call_format=self.call_format)),
                window,
                tuple(sorted(of_row)),
                self.weights,
            )
            for (window, call, result), of_row in positions.items()
        ]
        return rows, {
            call.call_id: index_of[call.window, call.call, call.result if has_result else None]
            for call in calls
        }

    def _opening(self, rows: Sequence[_Row]) -> Callable[[], SharedOpening]:
        """What all rows begin with, the tool's name at least; fed when a batch is computed.

        The last token of a call is fed with the row: it predicts the text's first.
        """
        openings = [[self.model.bos_id, *row.prefix[:-1]] for row in rows]
        return cache(lambda: feed_opening(self.model, openings))

    def _score_batch(self, rows: Sequence[_Row], opening: SharedOpening) -> list[list[float]]:
        sequences: list[list[int]] = []
        places: list[tuple[int, int, int]] = []
        for index, row in enumerate(rows):
            text = self.windows[row.window].ids[: row.text_length(self.windows)]
            sequences.append([self.model.bos_id, *row.prefix, *text[:-1]])
            for place in _needed_places(row, len(text)):
                places.append((index, len(row.prefix) + place, text[place]))
        losses = iter(losses_at(self.model, sequences, places, opening=opening))
        return [list(self._of_positions(row, dict(self._needed(row, losses)))) for row in rows]

    def _needed(self, row: _Row, losses: Iterator[float]) -> Iterator[tuple[int, float]]:
        for place in _needed_places(row, row.text_length(self.windows)):
            yield place, next(losses)

    def _of_positions(self, row: _Row, of_place: Mapping[int, float]) -> Iterator[float]:
        for position in row.positions:
            end = min(position + len(row.weights), row.text_length(self.windows))
            yield weighted_loss([of_place[place] for place in range(position, end)], row.weights)


def _needed_places(row: _Row, length: int) -> list[int]:
    """Text tokens whose loss carries weight for one of the row's positions, in order."""
    return sorted(
        {
            place
            for position in row.positions
            for place in range(position, min(position + len(row.weights), length))
        }
    )
