"""How often a call would be kept by luck: the same call with the result of another one.

Some results lower the loss whatever they say: any digits help at the start of a text, say. The
share of calls that would be kept with a foreign result tells how far a threshold separates. Not in
the paper. Chooses the calls and their foreign results; does not score.
"""

from collections.abc import Sequence

from toolformer.foreign_results import ForeignCall, foreign_call, in_digest_order
from toolformer.losses import ScoredCall

# A sample is at most every tenth call, so that scoring it costs a tenth of scoring them all; but
# where there are so few calls that a tenth says nothing, ten.
_SHARE = 10
_FEWEST = 10


def chance_sample_size(calls: int, *, most: int) -> int:
    """How many of a shard's calls of one tool are scored with a foreign result.

    Args:
        calls: scored calls of the tool in the shard.
        most: upper limit of a sample.

    Example:
        >>> [chance_sample_size(calls, most=200) for calls in (4, 60, 500, 9000)]
        [4, 10, 50, 200]
    """
    return min(most, calls, max(_FEWEST, calls // _SHARE))


def chance_calls(calls: Sequence[ScoredCall], *, most: int, seed: int) -> list[ForeignCall]:
    """Choose calls of one tool and give each the result of another.

    The order of the digests of (seed, call) chooses: its first calls are the sample, and each gets
    the result of the next call behind it, if possible one that is not taken yet. A call is left out
    where all results of the tool are the same; so a sample can be smaller, or empty.

    Args:
        calls: executed calls of one tool and shard with their own results.
        most: upper limit of the sample.
        seed: of the choice.
    """
    order = in_digest_order(calls, seed=seed)
    taken: set[str] = set()
    sample = []
    for place in range(chance_sample_size(len(calls), most=most)):
        found = foreign_call(order, place, taken=taken)
        if found is not None:
            taken.add(found.other_call_id)
            sample.append(found)
    return sample
