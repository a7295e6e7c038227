"""Calls with the results of other calls: what a result does that is about something else.

Chooses the results; does not score.
"""

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from toolformer.ground.digests import digest
from toolformer.losses import ScoredCall


@dataclass(frozen=True, slots=True)
class ForeignCall:
    """A call with the result of another.

    Attributes:
        call: as it was executed, but for its result.
        other_call_id: the call whose result it has.
    """

    call: ScoredCall
    other_call_id: str


def in_digest_order(calls: Sequence[ScoredCall], *, seed: int) -> list[ScoredCall]:
    """Calls in the order of the digests of (seed, call), whatever theirs is."""
    return sorted(calls, key=lambda call: digest(seed, call.call_id, separator=" "))


def foreign_call(
    order: Sequence[ScoredCall],
    place: int,
    *,
    taken: Collection[str] = (),
    other_than: str | None = None,
) -> ForeignCall | None:
    """The call at a place with the result of the next one that says something else.

    Next is the nearest behind it, from the last on to the first. A call of another text is
    preferred, since its result is more surely about something else, and one that is not taken.

    Args:
        order: executed calls of one tool and shard with their own results.
        place: of the call.
        taken: calls whose results others have.
        other_than: a result that the call must not get either.

    Returns:
        None where there is no such result.
    """
    call = order[place]
    best: ScoredCall | None = None
    least = (True, True)
    # A shard can have a hundred thousand calls, and the next few nearly always hold the best.
    for step in range(1, len(order)):
        other = order[(place + step) % len(order)]
        if other.result in (call.result, other_than):
            continue
        drawbacks = (other.window[0] == call.window[0], other.call_id in taken)
        if best is None or drawbacks < least:
            best, least = other, drawbacks
        if not any(drawbacks):
            break
    if best is None:
        return None
    return ForeignCall(dataclasses.replace(call, result=best.result), best.call_id)


def foreign_calls(
    calls: Sequence[ScoredCall], wanted: Collection[str], *, seed: int
) -> list[ForeignCall]:
    """Give the wanted calls a foreign result each, whichever others are wanted.

    Args:
        calls: all executed calls of one tool and shard with their own results.
        wanted: by key. Where all results of the tool are the same, none is given.
        seed: of the choice.
    """
    if len({call.result for call in calls}) < 2:
        return []
    order = in_digest_order(calls, seed=seed)
    found = [
        foreign_call(order, place) for place, call in enumerate(order) if call.call_id in wanted
    ]
    return [each for each in found if each is not None]
