"""Losses of calls that stand at their places in the text.

    ids:       BOS | x_0 … x_{p-1} | x_p … x_{p+w-2}        fed once, for all calls of the text
    branch:                        | z_1 … z_l x_p … x_{p+w-2}
    its states predict x_p … x_{p+w-1} without a call
    state of z_l predicts x_p, state of x_{p+t} predicts x_{p+t+1}; x_{p+w-1} is not fed

The call z is joined to the text as in C*: its tokens between those of the text, which stay as they
are. A branch sees the text in front of it through the keys that all calls of the text share. So
one reading of a text is enough for the losses of its calls with and without them. Does not choose
calls and does not decide.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolformer.call_scorer import AllLosses, CallScorer, Losses, Pruning
from toolformer.calls import call_ids
from toolformer.forward.batching import plan_batches
from toolformer.forward.prefill import ReadTexts
from toolformer.forward.prefix_cache import compute_prompt_prefix
from toolformer.forward.row_losses import losses_of_states
from toolformer.forward.windows import Window
from toolformer.loss_weights import weighted_loss
from toolformer.scored_call import ScoredCall, WindowKey

if TYPE_CHECKING:
    from toolformer.losses import TextLosses

# Calls with the row of their text.
_CallsOfRows = Sequence[tuple[int, ScoredCall]]


@dataclass(frozen=True, slots=True)
class _Branch:
    """A call at its place: what is fed behind the text, and what is predicted from it."""

    row: int
    position: int
    call: tuple[int, ...]
    following: tuple[int, ...]

    @property
    def fed(self) -> list[int]:
        return [*self.call, *self.following[:-1]]


class InlineScorer(CallScorer):
    """Scores calls at their places, all calls of some texts together; tells texts as rows done."""

    def score(
        self, calls: Sequence[ScoredCall], text_losses: "TextLosses", pruning: Pruning
    ) -> AllLosses:
        """All losses that decisions need, from one reading of each text.

        Args:
            calls: in any order.
            text_losses: says what is known of first tokens; no text is read by it.
            pruning: which further losses are needed.
        """

        def of_batch(texts: ReadTexts, of_texts: _CallsOfRows) -> AllLosses:
            without_call = self._text_losses(texts, of_texts, text_losses.start_losses)
            promising = [
                (row, call)
                for row, call in of_texts
                if pruning.may_pass(call.call_id, without_call[call.call_id])
            ]
            with_result = self._losses(texts, promising, has_result=True)
            still_open = [
                (row, call)
                for row, call in promising
                if pruning.needs_call_alone(
                    call.call_id, without_call[call.call_id] - with_result[call.call_id]
                )
            ]
            alone = self._losses(texts, still_open, has_result=False)
            return AllLosses(without_call, with_result, alone)

        found = AllLosses({}, {}, {})
        to_the_last = len(self.weights)
        for of_texts in self._in_texts(calls, of_batch, behind=to_the_last, label="inline-all"):
            for into, losses in zip(found, of_texts, strict=True):
                into.update(losses)
        return found

    def score_results(self, calls: Sequence[ScoredCall]) -> Losses:
        """L_i(e(c, r)) alone."""

        def of_batch(texts: ReadTexts, of_texts: _CallsOfRows) -> Losses:
            return self._losses(texts, of_texts, has_result=True)

        losses: Losses = {}
        # The token behind the last call is not fed.
        for of_texts in self._in_texts(calls, of_batch, behind=1, label="inline-results"):
            losses |= of_texts
        return losses

    def _in_texts(
        self,
        calls: Sequence[ScoredCall],
        compute: Callable[[ReadTexts, _CallsOfRows], Any],
        *,
        behind: int,
        label: str,
    ) -> Iterator[Any]:
        """What is computed for the calls of some texts at a time.

        Args:
            calls: in any order.
            compute: some texts and their calls to a result that JSON can hold.
            behind: how many tokens behind its last call a text is predicted.
            label: of the steps.
        """
        of_window: dict[WindowKey, list[ScoredCall]] = {}
        for call in calls:
            of_window.setdefault(call.window, []).append(call)
        groups = list(of_window.values())
        texts = [_cut(self.windows[key], of_key, behind) for key, of_key in of_window.items()]

        def of_batch(batch: Sequence[int]) -> Any:
            import torch

            with torch.inference_mode():
                read = ReadTexts(
                    self.model,
                    compute_prompt_prefix(self.model, None),
                    [texts[index] for index in batch],
                    token_budget=self.token_budget,
                )
                of_texts = [
                    (row, call) for row, index in enumerate(batch) for call in groups[index]
                ]
                return compute(read, of_texts)

        texts_done = 0
        for batch, found in self.in_batches(
            [len(text.ids) for text in texts], of_batch, label=label
        ):
            yield found
            texts_done += len(batch)
            self.progress(texts_done, len(texts))

    def _text_losses(
        self, texts: ReadTexts, calls: _CallsOfRows, start_losses: Sequence[float] | None
    ) -> Losses:
        """L_i(ε) by the states of the texts, only where a token carries weight."""
        import torch

        following = {call.call_id: self._following(call) for _, call in calls}
        tokens = {
            (row, call.position + t): token
            for row, call in calls
            for t, token in enumerate(following[call.call_id])
        }
        of_place: dict[tuple[int, int], float] = {}
        if tokens:
            wanted = torch.stack([texts.states[row][place] for row, place in tokens])
            ids = torch.tensor(list(tokens.values()), device=wanted.device)
            of_place = dict(zip(tokens, losses_of_states(self.model, wanted, ids), strict=True))
        if start_losses is not None:
            for (row, place), token in tokens.items():
                if place == 0:
                    of_place[row, place] = start_losses[token]
        return {
            call.call_id: weighted_loss(
                [of_place[row, call.position + t] for t in range(len(following[call.call_id]))],
                self.weights,
            )
            for row, call in calls
        }

    def _following(self, call: ScoredCall) -> tuple[int, ...]:
        """The tokens behind a call that carry weight."""
        return self.windows[call.window].ids[call.position : call.position + len(self.weights)]

    def _losses(self, texts: ReadTexts, calls: _CallsOfRows, *, has_result: bool) -> Losses:
        branch_of = {
            call.call_id: self._branch(row, call, has_result=has_result) for row, call in calls
        }
        # Equal ones are fed once. Behind the last token nothing is predicted, nor fed.
        branches = list(dict.fromkeys(each for each in branch_of.values() if each.following))
        losses = {branch: 0.0 for branch in branch_of.values() if not branch.following}
        packs = plan_batches(
            [len(branch.fed) for branch in branches], token_budget=self.token_budget
        )
        for pack in packs:
            in_order = sorted((branches[index] for index in pack), key=lambda branch: branch.row)
            losses |= zip(in_order, self._feed(texts, in_order), strict=True)
        return {call_id: losses[branch] for call_id, branch in branch_of.items()}

    def _branch(self, row: int, call: ScoredCall, *, has_result: bool) -> _Branch:
        ids = call_ids(
            self.model.tokenizer,
            call.call,
            call.result if has_result else None,
            call_format=self.call_format,
        )
        return _Branch(row, call.position, tuple(ids), self._following(call))

    def _feed(self, texts: ReadTexts, branches: Sequence[_Branch]) -> list[float]:
        """The losses of branches in the order of their rows, fed side by side."""
        import torch

        width = max(len(branch.fed) for branch in branches)
        keys = texts.branch_keys(
            [texts.start(branch.row, branch.position) for branch in branches],
            most_tokens=width,
            keeps=True,
        )
        # Padding stands behind a branch, where no token of it looks.
        states = keys.feed_whole(
            range(len(branches)),
            [branch.fed + [self.model.bos_id] * (width - len(branch.fed)) for branch in branches],
        )
        places = [
            (index, len(branch.call) - 1 + t, token)
            for index, branch in enumerate(branches)
            for t, token in enumerate(branch.following)
        ]
        node, place, token = (torch.tensor(column) for column in zip(*places, strict=True))
        wanted = states[node.to(states.device), place.to(states.device)]
        losses = iter(losses_of_states(self.model, wanted, token.to(states.device)))
        return [
            weighted_loss([next(losses) for _ in branch.following], self.weights)
            for branch in branches
        ]


def _cut(window: Window, calls: Sequence[ScoredCall], behind: int) -> Window:
    """The window up to so many tokens behind the last call; the last of them is not fed."""
    return window.up_to(max(call.position for call in calls) + behind)
