"""Gives each call the result of another call of its tool and shard.

The loss with such a swapped result shows what an arbitrary result does. The contrast, an optional
rule of the filter, compares a call's own result with the swapped one. The chance level is the share
of calls that the filter keeps with swapped results.
"""

import dataclasses
import itertools
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from toolformer.base.digests import digest
from toolformer.scoring.call_scorer import ScoredCall


@dataclass(frozen=True, slots=True)
class SwappedCall:
    call: ScoredCall
    other_call_id: str


class SwappedResults:
    """Swapped results for one tool and shard; they depend only on the seed and on all `calls`."""

    def __init__(self, calls: Sequence[ScoredCall], *, seed: int):
        # A random order that does not depend on the order of the argument.
        self.calls = sorted(calls, key=lambda call: digest(seed, call.call_id, separator=" "))
        self._has_different_results = len({call.result for call in calls}) > 1

    def sample(self, size: int) -> list[str]:
        """Return the ids of up to `size` random calls; none if all results are equal."""
        return [call.call_id for call in self.calls[:size]] if self._has_different_results else []

    def of(self, call_ids: Collection[str]) -> dict[str, SwappedCall]:
        """Return these calls with swapped results, by call id; none if all results are equal."""
        return self._swapped(dict.fromkeys(call_ids))

    def second_of(self, first: Collection[SwappedCall]) -> dict[str, SwappedCall]:
        """Return the same calls with a third result each, by call id; omit calls without one."""
        return self._swapped({scored.call.call_id: scored.call.result for scored in first})

    def _swapped(self, excluded_results: dict[str, str | None]) -> dict[str, SwappedCall]:
        if not self._has_different_results:
            return {}
        swapped: dict[str, SwappedCall] = {}
        later = _LaterCalls()
        # Going backwards, the calls after the current one are known. The order is circular (the
        # first calls follow the last), so the first pass only collects calls.
        for is_second, call in itertools.product((False, True), reversed(self.calls)):
            if is_second and call.call_id in excluded_results:
                other = later.next_with_another_result(call, excluded_results[call.call_id])
                if other is not None:
                    with_other = dataclasses.replace(call, result=other.result)
                    swapped[call.call_id] = SwappedCall(with_other, other.call_id)
            later.prepend(call)
        return dict(reversed(swapped.items()))


class _LaterCalls:
    """Calls after a point in the order, without those that no search can return.

    Dropping these calls keeps searches short, even if a shard has 100,000 calls in one text or only
    two different results. A search excludes at most two results, so the nearest three results of a
    text suffice. It avoids at most one text, so the nearest two texts with a result suffice.
    """

    def __init__(self) -> None:
        # {(text, result): call}, the nearest call last.
        self._calls: OrderedDict[tuple[str, str], ScoredCall] = OrderedDict()
        self._results_of: dict[str, list[str]] = {}
        self._texts_of: dict[str, list[str]] = {}

    def next_with_another_result(
        self, call: ScoredCall, excluded_result: str | None
    ) -> ScoredCall | None:
        """Return the next call with a result other than these two, preferably in another text."""
        of_same_text: ScoredCall | None = None
        for (text, result), other in reversed(self._calls.items()):
            if result in (call.result, excluded_result):
                continue
            if text != call.window[0]:
                return other
            of_same_text = of_same_text or other
        return of_same_text

    def prepend(self, call: ScoredCall) -> None:
        text, result = call.window[0], call.result
        self._drop(text, result)
        self._calls[text, result] = call
        results = self._results_of.setdefault(text, [])
        texts = self._texts_of.setdefault(result, [])
        results.append(result)
        texts.append(text)
        if len(results) > 3:
            self._drop(text, results[0])
        if len(texts) > 2:
            self._drop(texts[0], result)

    def _drop(self, text: str, result: str) -> None:
        if self._calls.pop((text, result), None) is not None:
            self._results_of[text].remove(result)
            self._texts_of[result].remove(text)
