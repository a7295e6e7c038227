"""Calls with swapped results: each gets the result of another call of its tool and shard.

What such a result does to the loss is what any result would do. A contrast compares a call with
it, and the chance level counts the calls that would be kept with it. This module only chooses the
results.
"""

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from toolformer.files.digests import digest
from toolformer.scoring.scored_call import ScoredCall


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
    """

    def __init__(self, calls: Sequence[ScoredCall], *, seed: int):
        # In the order of the digests of (seed, call), whatever theirs is.
        self._order = sorted(calls, key=lambda call: digest(seed, call.call_id, separator=" "))
        self._has_several = len({call.result for call in calls}) > 1

    def sample(self, size: int) -> list[str]:
        """The ids of the first calls of the order: a random sample, as far as results differ."""
        return [call.call_id for call in self._order[:size]] if self._has_several else []

    def of(self, call_ids: Collection[str]) -> dict[str, SwappedCall]:
        """Each of these calls with the result of another; where all results are the same, none."""
        return self._swapped(dict.fromkeys(call_ids))

    def second_of(self, first: Collection[SwappedCall]) -> dict[str, SwappedCall]:
        """The same calls with a third call's result, where the tool has another one."""
        return self._swapped({scored.call.call_id: scored.call.result for scored in first})

    def _swapped(self, other_than: dict[str, str | None]) -> dict[str, SwappedCall]:
        if not self._has_several:
            return {}
        swapped = {
            call.call_id: self._swapped_call(index, other_than[call.call_id])
            for index, call in enumerate(self._order)
            if call.call_id in other_than
        }
        return {
            call_id: swapped_call
            for call_id, swapped_call in swapped.items()
            if swapped_call is not None
        }

    def _swapped_call(self, index: int, other_than: str | None) -> SwappedCall | None:
        """The call at a place with the next result behind it that says something else.

        A call of another text is preferred, since its result is more surely about something else.
        """
        call, order = self._order[index], self._order
        same_text_call: ScoredCall | None = None
        # A shard can have a hundred thousand calls, and the next few nearly always hold the best.
        for step in range(1, len(order)):
            other = order[(index + step) % len(order)]
            if other.result in (call.result, other_than):
                continue
            if other.window[0] != call.window[0]:
                return _with_result_of(other, call)
            same_text_call = same_text_call or other
        return same_text_call and _with_result_of(same_text_call, call)


def _with_result_of(other: ScoredCall, call: ScoredCall) -> SwappedCall:
    return SwappedCall(dataclasses.replace(call, result=other.result), other.call_id)
