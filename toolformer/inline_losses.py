"""Losses of calls that stand at their places in the text.

    ids:       BOS | x_0 … x_{p-1} |                        fed once, for all calls of the text
    branch:                        | z_1 … z_l x_p … x_{p+w-2}
    state of z_l predicts x_p, state of x_{p+t} predicts x_{p+t+1}; x_{p+w-1} is not fed

The call z is joined to the text as in C*: its tokens between those of the text, which stay as they
are. A branch sees the text in front of it through the keys that all calls of the text share. Does
not choose calls and does not decide.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from toolformer.call_scorer import CallScorer, Losses
from toolformer.calls import call_ids
from toolformer.forward.batching import plan_batches
from toolformer.forward.prefill import ReadTexts
from toolformer.forward.prefix_cache import compute_prompt_prefix
from toolformer.forward.row_losses import losses_of_states
from toolformer.forward.windows import Window
from toolformer.loss_weights import weighted_loss
from toolformer.scored_call import ScoredCall, WindowKey


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
        self, calls: Sequence[ScoredCall], *, is_open: Callable[[ScoredCall, float], bool]
    ) -> tuple[Losses, Losses]:
        """The losses with the calls' results, and without them where that is still open."""
        of_window: dict[WindowKey, list[ScoredCall]] = {}
        for call in calls:
            of_window.setdefault(call.window, []).append(call)
        texts = [_in_front(self.windows[key], of_key) for key, of_key in of_window.items()]
        groups = list(of_window.values())
        with_result: Losses = {}
        without_result: Losses = {}
        batches = self.in_batches(
            [len(text.ids) for text in texts],
            lambda batch: self._score_batch(
                [texts[index] for index in batch], [groups[index] for index in batch], is_open
            ),
            label="inline",
        )
        texts_done = 0
        for batch, (with_results, without_results) in batches:
            with_result |= with_results
            without_result |= without_results
            texts_done += len(batch)
            self.progress(texts_done, len(texts))
        return with_result, without_result

    def _score_batch(
        self,
        texts: Sequence[Window],
        groups: Sequence[Sequence[ScoredCall]],
        is_open: Callable[[ScoredCall, float], bool],
    ) -> tuple[Losses, Losses]:
        import torch

        calls = [(row, call) for row, group in enumerate(groups) for call in group]
        with torch.inference_mode():
            read = ReadTexts(
                self.model,
                compute_prompt_prefix(self.model, None),
                texts,
                token_budget=self.token_budget,
            )
            with_result = self._losses(read, calls, has_result=True)
            still_open = [
                (row, call) for row, call in calls if is_open(call, with_result[call.call_id])
            ]
            return with_result, self._losses(read, still_open, has_result=False)

    def _losses(
        self, texts: ReadTexts, calls: Sequence[tuple[int, ScoredCall]], *, has_result: bool
    ) -> Losses:
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
        text = self.windows[call.window].ids
        following = text[call.position : call.position + len(self.weights)]
        return _Branch(row, call.position, tuple(ids), following)

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


def _in_front(window: Window, calls: Sequence[ScoredCall]) -> Window:
    """The window up to the token behind the last call, which itself is not fed."""
    end = max(call.position for call in calls) + 1
    return dataclasses.replace(window, ids=window.ids[:end], offsets=window.offsets[:end])
