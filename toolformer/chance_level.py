"""How often a call would be kept by luck: the same call with the result of another one.

Some results lower the loss whatever they say: any digits help at the start of a text, say. The
share of calls that would be kept with a swapped result tells how far a threshold separates. Not in
the paper.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

# A sample is at most every tenth call, so that scoring it costs a tenth of scoring them all; but
# where there are so few calls that a tenth says nothing, ten.
_SHARE = 10
_FEWEST = 10
# Of one-sided tests at 5 %, in standard deviations.
_SIGNIFICANT_DEVIATION = NormalDist().inv_cdf(0.95)


def chance_sample_size(calls: int, *, max_size: int) -> int:
    """How many of a shard's calls of one tool are in the chance sample.

    Example:
        >>> [chance_sample_size(calls, max_size=200) for calls in (4, 60, 500, 9000)]
        [4, 10, 50, 200]
    """
    return min(max_size, calls, max(_FEWEST, calls // _SHARE))


@dataclass(frozen=True, slots=True)
class KeptAgainstChance:
    """Calls that were kept, beside those that would be kept with the results of other calls.

    Attributes:
        kept: calls of a tool that the filter kept.
        scored: calls that it decided on.
        chance_kept: of the calls of the sample, those that the same rule keeps with the result of
            another call.
        chance_scored: calls of the sample; each is one of `scored`.
        both_kept: calls of the sample that are kept with either result.
        sample_kept: calls of the sample that are kept with their own.
    """

    kept: int
    scored: int
    chance_kept: int
    chance_scored: int
    both_kept: int
    sample_kept: int

    @property
    def is_above_chance(self) -> bool | None:
        """Whether more are kept than by chance, at a nominal 5 %; None without a sample.

        The test of two shares whose samples overlap partially (Derrick, Toher and White, 2015): a
        call of the sample is decided on twice, and the covariance of the two is taken into account.
        """
        if not self.chance_scored or not self.scored:
            return None
        n, chance_n = self.scored, self.chance_scored
        difference = self.kept / n - self.chance_kept / chance_n
        share = (self.kept + self.chance_kept) / (n + chance_n)
        covariance = self.both_kept / chance_n - self.sample_kept * self.chance_kept / chance_n**2
        variance = share * (1 - share) * (1 / n + 1 / chance_n) - 2 * max(covariance, 0.0) / n
        return variance > 0 and difference / math.sqrt(variance) > _SIGNIFICANT_DEVIATION

    @property
    def explained_share(self) -> float | None:
        """Share of the kept calls that chance explains, at most 1; None where that is not known."""
        if not self.chance_scored or not self.kept:
            return None
        return min(self.chance_kept / self.chance_scored / (self.kept / self.scored), 1.0)

    @property
    def sentence(self) -> str:
        """What a person should know of it.

        Example:
            >>> print(KeptAgainstChance(107, 464, 3, 44, 2, 11).sentence)
            23 % of 464 calls kept, 7 % of 44 by chance: above chance, which explains 30 % of them
            >>> print(KeptAgainstChance(32, 157, 6, 30, 4, 7).sentence)
            20 % of 157 calls kept, 20 % of 30 by chance: not told apart from chance
        """
        if not self.scored:
            return "no call was scored"
        told = f"{_percent(self.kept / self.scored)} of {self.scored:,} calls kept"
        if not self.chance_scored:
            return f"{told}; the chance level was not measured (scoring.chance_calls)"
        by_chance = _percent(self.chance_kept / self.chance_scored)
        told += f", {by_chance} of {self.chance_scored:,} by chance"
        share = self.explained_share
        if share is None:
            return told
        if not self.is_above_chance:
            return f"{told}: not told apart from chance"
        return f"{told}: above chance, which explains {_percent(share)} of them"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
