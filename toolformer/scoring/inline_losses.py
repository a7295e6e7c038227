"""Losses of calls that stand at their places in the text.

    ids:       BOS | x_0 … x_{p-1} | x_p … x_{p+w-2}        fed once, for all calls of the text
    branch:                        | z_1 … z_l x_p … x_{p+w-2}
    its states predict x_p … x_{p+w-1} without a call
    state of z_l predicts x_p, state of x_{p+t} predicts x_{p+t+1}; x_{p+w-1} is not fed

The call z is joined to the text as in C*: its tokens between those of the text, which stay as they
are. A branch sees the text in front of it through the keys that all calls of the text share. So one
reading of a text is enough for the losses of its calls with and without them.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolformer.forward.batching import feed_in_halves, plan_batches
from toolformer.forward.model import Continuation, Place, Texts
from toolformer.forward.windows import WindowKey
from toolformer.loss_weights import weighted_loss
from toolformer.scoring.call_scorer import AllLosses, CallScorer, Losses, ScoredCall, ScoringPass


@dataclass(frozen=True, slots=True)
class _TextsOfCalls:
    """Some texts that were read, and the row of each; the pass that they are read for."""

    read: Texts
    rows: Mapping[WindowKey, int]
    work: ScoringPass


class InlineScorer(CallScorer):
    """Scores calls at their places, all calls of some texts together; tells texts as rows done."""

    def _all_losses(
        self, calls: Sequence[ScoredCall], exact: Collection[str], work: ScoringPass
    ) -> AllLosses:
        def compute(texts: _TextsOfCalls, calls: Sequence[ScoredCall]) -> AllLosses:
            return self._pruned(
                calls,
                self._losses_without_call(texts, calls),
                exact,
                lambda some, has_result: self._losses(texts, some, has_result=has_result),
            )

        all_losses = AllLosses({}, {}, {})
        to_the_last = len(self.weights)
        for batch_losses in self._in_texts(calls, compute, work, behind=to_the_last, label="all"):
            for into, losses in zip(all_losses, batch_losses, strict=True):
                into.update(losses)
        return all_losses

    def _result_losses(self, calls: Sequence[ScoredCall], work: ScoringPass) -> Losses:
        def compute(texts: _TextsOfCalls, calls: Sequence[ScoredCall]) -> Losses:
            return self._losses(texts, calls, has_result=True)

        losses: Losses = {}
        # The token behind the last call is not fed.
        for batch_losses in self._in_texts(calls, compute, work, behind=1, label="results"):
            losses |= batch_losses
        return losses

    def _in_texts(
        self,
        calls: Sequence[ScoredCall],
        compute: Callable[[_TextsOfCalls, Sequence[ScoredCall]], Any],
        work: ScoringPass,
        *,
        behind: int,
        label: str,
    ) -> Iterator[Any]:
        """What is computed for the calls of some texts at a time.

        Args:
            compute: some texts and their calls to a result that JSON can hold.
            behind: how many tokens behind its last call a text is predicted.
        """
        calls_of_window: dict[WindowKey, list[ScoredCall]] = {}
        for call in calls:
            calls_of_window.setdefault(call.window, []).append(call)
        keys = list(calls_of_window)
        # Up to so many tokens behind the last call; the last of them is not fed.
        texts = [
            self.windows[key].up_to(max(call.position for call in window_calls) + behind)
            for key, window_calls in calls_of_window.items()
        ]

        def of_batch(batch: Sequence[int]) -> Any:
            read = self.model.read(None, [texts[index] for index in batch])
            rows = {keys[index]: row for row, index in enumerate(batch)}
            return compute(
                _TextsOfCalls(read, rows, work),
                [call for index in batch for call in calls_of_window[keys[index]]],
            )

        for _, batch_results in work.in_batches(
            [len(text.ids) for text in texts], of_batch, label=label
        ):
            yield batch_results

    def _losses_without_call(self, texts: _TextsOfCalls, calls: Sequence[ScoredCall]) -> Losses:
        """L_i(ε) of the texts as they were read, only where a token carries weight."""
        places = {
            call.call_id: [
                (Place(texts.rows[call.window], call.position + t), token)
                for t, token in enumerate(self._following(call))
            ]
            for call in calls
        }
        wanted = list(
            dict.fromkeys(
                call_place for call_places in places.values() for call_place in call_places
            )
        )
        losses = dict(zip(wanted, texts.read.losses(wanted), strict=True))
        return {
            call_id: weighted_loss([losses[place] for place in call_places], self.weights)
            for call_id, call_places in places.items()
        }

    def _following(self, call: ScoredCall) -> tuple[int, ...]:
        """The tokens behind a call that carry weight."""
        return self.windows[call.window].ids[call.position : call.position + len(self.weights)]

    def _losses(
        self, texts: _TextsOfCalls, calls: Sequence[ScoredCall], *, has_result: bool
    ) -> Losses:
        branch_of = {
            call.call_id: self._branch(texts.rows[call.window], call, has_result=has_result)
            for call in calls
        }
        # Equal ones are fed once. Behind the last token nothing is predicted, nor fed.
        branches = list(dict.fromkeys(branch for branch in branch_of.values() if branch.following))
        losses = {branch: 0.0 for branch in branch_of.values() if not branch.following}
        # Each row copies the keys of the text before it.
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
        return Continuation(Place(row, call.position), tuple(ids), following)
