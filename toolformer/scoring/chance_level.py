"""How often a call would be kept by luck: the same call with the result of another one.

Some results lower the loss whatever they say; at the start of a text, for example, any digits do.
The share of calls that would be kept with a swapped result shows how well a threshold separates.
The paper has no such measure.
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
    def kept_share(self) -> float | None:
        """Share of the calls that are kept; None without calls."""
        return self.kept / self.scored if self.scored else None

    @property
    def chance_share(self) -> float | None:
        """Share of the sample that is kept with swapped results; None without a sample."""
        return self.chance_kept / self.chance_scored if self.chance_scored else None

    @property
    def is_above_chance(self) -> bool | None:
        """Whether more are kept than by chance, at a nominal 5 %; None without a sample.

        The test of two shares whose samples overlap partially (Derrick, Toher and White, 2015): a
        call of the sample is decided on twice, and the covariance of the two is taken into account.
        It is negative where a contrast is set, since few calls are kept with either result. The
        variance is not: the sample's calls are among the scored ones.
        """
        if self.kept_share is None or self.chance_share is None:
            return None
        n, chance_n = self.scored, self.chance_scored
        difference = self.kept_share - self.chance_share
        share = (self.kept + self.chance_kept) / (n + chance_n)
        covariance = self.both_kept / chance_n - self.sample_kept * self.chance_share / chance_n
        variance = share * (1 - share) * (1 / n + 1 / chance_n) - 2 * covariance / n
        return variance > 0 and difference / math.sqrt(variance) > _SIGNIFICANT_DEVIATION

    @property
    def sentence(self) -> str:
        """What a person should know of it.

        Example:
            >>> print(KeptAgainstChance(107, 464, 3, 44, 2, 11).sentence)
            above chance (23 % of 464 calls kept, 7 % of 44 with swapped results)
            >>> print(KeptAgainstChance(32, 157, 6, 30, 4, 7).sentence)
            not told apart from chance (20 % of 157 calls kept, 20 % of 30 with swapped results)
        """
        if self.kept_share is None:
            return "no call was scored"
        text = f"{percent(self.kept_share)} of {self.scored:,} calls kept"
        if self.chance_share is None:
            return f"{text}; the chance level was not measured (scoring.chance_calls)"
        text += f", {percent(self.chance_share)} of {self.chance_scored:,} with swapped results"
        if not self.kept:
            return text
        verdict = "above chance" if self.is_above_chance else "not told apart from chance"
        return f"{verdict} ({text})"


def percent(share: float) -> str:
    """A share as a person reads it.

    Example:
        >>> percent(0.0), percent(0.004), percent(0.23)
        ('0 %', '0.4 %', '23 %')
    """
    return f"{100 * share:.{'1g' if share < 0.01 else '0f'}} %"
