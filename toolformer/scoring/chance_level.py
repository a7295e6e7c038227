"""Estimates how often a call would be kept by chance: with the result of another call.

Some results lower the loss whatever they say; at the start of a text, for example, any digits do.
The share of calls kept with a swapped result shows how many kept calls a threshold owes to chance.
The paper has no such measure.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

# Every tenth call is sampled, so that the sample costs a tenth of scoring all calls. If a tenth is
# too few to say anything, ten calls are sampled.
_CALLS_PER_SAMPLED_CALL = 10
_MIN_SAMPLE_SIZE = 10
# Critical value of a one-sided test at 5 %, in standard deviations.
_CRITICAL_DEVIATION = NormalDist().inv_cdf(0.95)


def chance_sample_size(calls: int, *, max_size: int) -> int:
    return min(max_size, calls, max(_MIN_SAMPLE_SIZE, calls // _CALLS_PER_SAMPLED_CALL))


@dataclass(frozen=True, slots=True)
class ChanceComparison:
    """Numbers of calls that the filter keeps with their own results and with swapped ones.

    Attributes:
        chance_kept: calls of the chance sample that the same rule keeps with a swapped result.
        chance_scored: calls of the sample; all of them are also in `scored`.
        both_kept: calls of the sample that are kept with their own and with the swapped result.
        sample_kept: calls of the sample that are kept with their own results.
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

        Tests two shares with partially overlapping samples (Derrick, Toher and White, 2015). With a
        contrast, the covariance is negative, since few calls are kept with both results.
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
        """The comparison in words, with both shares."""
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
    """Return a share as a percentage: 0.23 as '23 %', 0.004 as '0.4 %'."""
    return f"{100 * share:.{'1g' if share < 0.01 else '0f'}} %"
