"""Calls with swapped results: each gets the result of another call of its tool and shard.

What such a result does to the loss is what any result would do. A contrast compares a call with
it, and the chance level counts the calls that would be kept with it. This module only chooses the
results.
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
    """A call with the result of another.

    Attributes:
        call: as it was executed, but for its result.
        other_call_id: the call whose result it has.
    """

    call: ScoredCall
    other_call_id: str


class SwappedResults:
    """Chooses the results of other calls, the same ones whichever calls are asked for.

    Args:
        calls: all executed calls of one tool and shard with their own results.

    Attributes:
        calls: in random order.
    """

    def __init__(self, calls: Sequence[ScoredCall], *, seed: int):
        # In the order of the digests of (seed, call), whatever theirs is.
        self.calls = sorted(calls, key=lambda call: digest(seed, call.call_id, separator=" "))
        self._has_several = len({call.result for call in calls}) > 1

    def sample(self, size: int) -> list[str]:
        """The ids of the first calls of the order: a random sample, as far as results differ."""
        return [call.call_id for call in self.calls[:size]] if self._has_several else []

    def of(self, call_ids: Collection[str]) -> dict[str, SwappedCall]:
        """Each of these calls with the result of another; where all results are the same, none."""
        return self._swapped(dict.fromkeys(call_ids))

    def second_of(self, first: Collection[SwappedCall]) -> dict[str, SwappedCall]:
        """The same calls with a third call's result, where the tool has another one."""
        return self._swapped({scored.call.call_id: scored.call.result for scored in first})

    def _swapped(self, other_than: dict[str, str | None]) -> dict[str, SwappedCall]:
        if not self._has_several:
            return {}
        swapped: dict[str, SwappedCall] = {}
        behind = _CallsBehind()
        # From behind, and twice, since the first calls are behind the last ones.
        for is_second, call in itertools.product((False, True), reversed(self.calls)):
            if is_second and call.call_id in other_than:
                other = behind.next_with_another_result(call, other_than[call.call_id])
                if other is not None:
                    with_other = dataclasses.replace(call, result=other.result)
                    swapped[call.call_id] = SwappedCall(with_other, other.call_id)
            behind.put_in_front(call)
        return dict(reversed(swapped.items()))


class _CallsBehind:
    """The calls behind a place, as far as one of them can be the next with another result.

    A shard can have a hundred thousand calls, all of one text or with two results, and still the
    next one is found at once. Three calls of one text with three results are enough of that text:
    no call further behind is the next one, whichever two results and one text it must not have.
    Two calls of two texts are enough of a result likewise. So of a text or result that it must not
    have, few calls are passed over.
    """

    def __init__(self) -> None:
        # By text and result; the nearest last.
        self._calls: OrderedDict[tuple[str, str], ScoredCall] = OrderedDict()
        self._results_of: dict[str, list[str]] = {}
        self._texts_of: dict[str, list[str]] = {}

    def next_with_another_result(
        self, call: ScoredCall, other_than: str | None
    ) -> ScoredCall | None:
        """The next call whose result is neither this call's nor `other_than`.

        A call of another text is preferred, since its result is more surely about something else.
        """
        of_same_text: ScoredCall | None = None
        for (text, result), other in reversed(self._calls.items()):
            if result in (call.result, other_than):
                continue
            if text != call.window[0]:
                return other
            of_same_text = of_same_text or other
        return of_same_text

    def put_in_front(self, call: ScoredCall) -> None:
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
