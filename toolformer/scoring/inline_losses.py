"""Scores calls at their positions in the text.

The tokens z of a call at position p are scored by the w text tokens after them:

    text:      BOS | x_0 … x_{p-1} | x_p … x_{p+w-2}        fed once, for all calls of the text
    branch:                        | z_1 … z_l x_p … x_{p+w-2}

The states of the text predict x_p … x_{p+w-1} without the call z, and those of the branch with it.
As in C*, z is inserted between tokens of the text, which do not change. A branch attends to the
text before it through cached keys that all calls of the text share.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolformer.forward.batching import feed_in_halves, plan_batches
from toolformer.forward.model import Continuation, TextPosition, Texts
from toolformer.forward.windows import WindowKey
from toolformer.loss_weights import weighted_loss
from toolformer.scoring.call_scorer import AllLosses, CallScorer, Losses, ScoredCall, ScoringPass


@dataclass(frozen=True, slots=True)
class _TextsOfCalls:
    """Texts that were fed together, the row of each, and the pass that fed them."""

    read: Texts
    rows: Mapping[WindowKey, int]
    work: ScoringPass


class InlineScorer(CallScorer):
    """Scores calls at their positions, text by text; progress counts texts."""

    def _all_losses(
        self, calls: Sequence[ScoredCall], exact: Collection[str], work: ScoringPass
    ) -> AllLosses:
        def compute(texts: _TextsOfCalls, calls: Sequence[ScoredCall]) -> AllLosses:
            return self._pruned(
                calls,
                self._losses_without_call(texts, calls),
                exact,
                lambda subset, has_result: self._losses(texts, subset, has_result=has_result),
            )

        all_losses = AllLosses({}, {}, {})
        following = len(self.weights)
        for batch_losses in self._in_texts(calls, compute, work, following=following, label="all"):
            for target, losses in zip(all_losses, batch_losses, strict=True):
                target.update(losses)
        return all_losses

    def _result_losses(self, calls: Sequence[ScoredCall], work: ScoringPass) -> Losses:
        def compute(texts: _TextsOfCalls, calls: Sequence[ScoredCall]) -> Losses:
            return self._losses(texts, calls, has_result=True)

        losses: Losses = {}
        # `following` is 1, for a token that is only predicted: the text ends before its last call.
        for batch_losses in self._in_texts(calls, compute, work, following=1, label="results"):
            losses |= batch_losses
        return losses

    def _in_texts(
        self,
        calls: Sequence[ScoredCall],
        compute: Callable[[_TextsOfCalls, Sequence[ScoredCall]], Any],
        work: ScoringPass,
        *,
        following: int,
        label: str,
    ) -> Iterator[Any]:
        """Yield the JSON-compatible result of `compute` for each batch of texts with their calls.

        A text is cut `following` tokens after its last call, and its last token is not fed.
        """
        calls_of_window: dict[WindowKey, list[ScoredCall]] = {}
        for call in calls:
            calls_of_window.setdefault(call.window, []).append(call)
        keys = list(calls_of_window)
        texts = [
            self.windows[key].up_to(max(call.position for call in window_calls) + following)
            for key, window_calls in calls_of_window.items()
        ]

        def compute_batch(batch: Sequence[int]) -> Any:
            read = self.model.read(None, [texts[index] for index in batch])
            rows = {keys[index]: row for row, index in enumerate(batch)}
            return compute(
                _TextsOfCalls(read, rows, work),
                [call for index in batch for call in calls_of_window[keys[index]]],
            )

        for _, batch_results in work.in_batches(
            [len(text.ids) for text in texts], compute_batch, label=label
        ):
            yield batch_results

    def _losses_without_call(self, texts: _TextsOfCalls, calls: Sequence[ScoredCall]) -> Losses:
        """Return L_i(ε), predicting only the tokens with weight from the texts already fed."""
        targets = {
            call.call_id: [
                (TextPosition(texts.rows[call.window], call.position + t), token)
                for t, token in enumerate(self._following(call))
            ]
            for call in calls
        }
        unique = list(
            dict.fromkeys(target for call_targets in targets.values() for target in call_targets)
        )
        losses = dict(zip(unique, texts.read.losses(unique), strict=True))
        return {
            call_id: weighted_loss([losses[target] for target in call_targets], self.weights)
            for call_id, call_targets in targets.items()
        }

    def _following(self, call: ScoredCall) -> tuple[int, ...]:
        return self.windows[call.window].ids[call.position : call.position + len(self.weights)]

    def _losses(
        self, texts: _TextsOfCalls, calls: Sequence[ScoredCall], *, has_result: bool
    ) -> Losses:
        branch_of = {
            call.call_id: self._branch(texts.rows[call.window], call, has_result=has_result)
            for call in calls
        }
        # Equal branches are fed once. A call after the last token predicts nothing and is not fed.
        branches = list(dict.fromkeys(branch for branch in branch_of.values() if branch.following))
        losses = {branch: 0.0 for branch in branch_of.values() if not branch.following}
        # Each row of a batch copies the keys of the text before its call.
        per_token = self.model.keys_per_token
        sizes = [len(branch.fed) + branch.place.position // per_token for branch in branches]
        for batch in plan_batches(sizes, token_budget=texts.work.token_budget):
            in_batch = [branches[index] for index in batch]
            following_losses, is_halved = feed_in_halves(in_batch, texts.read.continuation_losses)
            if is_halved:
                texts.work.checkpoint.store("calls-regrouped", is_halved)
            for branch, token_losses in zip(in_batch, following_losses, strict=True):
                losses[branch] = weighted_loss(token_losses, self.weights)
        return {call_id: losses[branch] for call_id, branch in branch_of.items()}

    def _branch(self, row: int, call: ScoredCall, *, has_result: bool) -> Continuation:
        following = self._following(call)
        ids = self.call_ids(
            call.call,
            call.result if has_result else None,
            text_tokens=call.position + len(following),
        )
        return Continuation(TextPosition(row, call.position), tuple(ids), following)
