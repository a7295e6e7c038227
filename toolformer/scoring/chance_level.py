"""Estimates how often calls are kept by chance, by giving them the results of other calls.

Some results lower the loss whatever they say; at the start of a text, for example, any digits do.
The share of calls kept with a swapped result estimates how many kept calls are due to chance. The
paper has no such measure.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

# Every tenth call is sampled, so that the sample costs a tenth of scoring all calls. At least ten
# calls are sampled, because fewer would say nothing.
_CALLS_PER_SAMPLED_CALL = 10
_MIN_SAMPLE_SIZE = 10
# Critical value of a one-sided test at 5 %, in standard deviations.
_CRITICAL_DEVIATION = NormalDist().inv_cdf(0.95)


def chance_sample_size(calls: int, *, max_size: int) -> int:
    """Return how many of the executed calls are scored with swapped results.

    Example:
        >>> [chance_sample_size(calls, max_size=200) for calls in (4, 60, 500, 9000)]
        [4, 10, 50, 200]
    """
    return min(max_size, calls, max(_MIN_SAMPLE_SIZE, calls // _CALLS_PER_SAMPLED_CALL))


@dataclass(frozen=True, slots=True)
class ChanceComparison:
    """Numbers of calls that the filter keeps with their own results and with swapped ones.

    Attributes:
        chance_kept: number of calls in the chance sample that are kept with swapped results.
        chance_scored: size of the chance sample, whose calls are also counted in `scored`.
        both_kept: number of sampled calls kept with their own results and with swapped ones.
        sample_kept: number of sampled calls kept with their own results.
    """

    kept: int
    scored: int
    chance_kept: int
    chance_scored: int
    both_kept: int
    sample_kept: int

    @property
    def kept_share(self) -> float | None:
        return self.kept / self.scored if self.scored else None

    @property
    def chance_share(self) -> float | None:
        return self.chance_kept / self.chance_scored if self.chance_scored else None

    @property
    def is_above_chance(self) -> bool | None:
        """Whether more calls are kept than by chance, at a nominal 5 %; None without a sample.

        Tests two shares with partially overlapping samples (Derrick, Toher and White, 2015). With
        the contrast of the filter, the covariance is negative, since few calls are kept with both
        results.
        """
        if self.kept_share is None or self.chance_share is None:
            return None
        n, chance_n = self.scored, self.chance_scored
        difference = self.kept_share - self.chance_share
        share = (self.kept + self.chance_kept) / (n + chance_n)
        covariance = self.both_kept / chance_n - self.sample_kept * self.chance_share / chance_n
        variance = share * (1 - share) * (1 / n + 1 / chance_n) - 2 * covariance / n
        return variance > 0 and difference / math.sqrt(variance) > _CRITICAL_DEVIATION

    @property
    def sentence(self) -> str:
        """The comparison in words, with both shares.

        Example:
            >>> print(ChanceComparison(107, 464, 3, 44, 2, 11).sentence)
            above chance (23 % of 464 calls kept, 7 % of 44 with swapped results)
            >>> print(ChanceComparison(32, 157, 6, 30, 4, 7).sentence)
            ... # doctest: +NORMALIZE_WHITESPACE
            not distinguishable from chance
            (20 % of 157 calls kept, 20 % of 30 with swapped results)
        """
        if self.kept_share is None:
            return "no call was scored"
        text = f"{percent(self.kept_share)} of {self.scored:,} calls kept"
        if self.chance_share is None:
            return f"{text}; the chance level was not measured (scoring.chance_calls)"
        text += f", {percent(self.chance_share)} of {self.chance_scored:,} with swapped results"
        if not self.kept:
            return text
        verdict = "above chance" if self.is_above_chance else "not distinguishable from chance"
        return f"{verdict} ({text})"


def percent(share: float) -> str:
    """Return a share as a percentage: 0.23 as '23 %', 0.004 as '0.4 %'.

    Example:
        >>> percent(0.0), percent(0.004), percent(0.23)
        ('0 %', '0.4 %', '23 %')
    """
    return f"{100 * share:.{'1g' if share < 0.01 else '0f'}} %"
