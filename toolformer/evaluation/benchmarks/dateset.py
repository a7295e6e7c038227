"""Generates DATESET: date questions that require knowing the current date (paper §4.2.5).

The calendar tool returns the presumed current date of a question. The paper gives the seven kinds
of question, their options and counts, but not how dates were drawn. All counts are multiples of
200, so each of the 47 combinations of options gets 200 queries. Hashes replace a random generator,
so equal seeds give equal items on every Python version.
"""

import datetime
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice

from dateutil.relativedelta import relativedelta

from toolformer.base.digests import number_digest
from toolformer.evaluation.benchmarks.benchmark import Benchmark, BenchmarkItem, StopRule
from toolformer.evaluation.dateset_templates import COMBINATIONS, Combination, Moment
from toolformer.evaluation.scoring import contains_answer
from toolformer.settings.evaluation_sections import QUESTION_PROMPT

FIRST_CURRENT_DATE = datetime.date(2010, 1, 1)
LAST_CURRENT_DATE = datetime.date(2025, 12, 31)
# More dates than queries per combination, because some dates do not fit a holiday.
_CURRENT_DATES = 500
_QUERIES = 200
_YEARS_AROUND = 4


class Dateset(Benchmark):
    """Questions about dates: a sample of `count` that spans the kinds, or all 9,400 if None."""

    name = "dateset"
    stop_rule = StopRule(max_new_tokens=40)

    def __init__(self, *, seed: int, count: int | None = None) -> None:
        self.version = f"1 seed={seed} count={count}"
        self._seed = seed
        self._count = count

    def items(self) -> Iterator[BenchmarkItem]:
        """Generate the questions, ordered by kind and combination.

        Every current date has one past and one future date at most four years away, and occurs at
        most once per combination.
        """
        moments = _moments(self._seed)
        items = [
            item
            for combination in COMBINATIONS
            for item in islice(_questions(combination, moments, self._seed), _QUERIES)
        ]
        yield from items if self._count is None else _sample(items, self._count, self._seed)

    def score(self, item: BenchmarkItem, output: str) -> bool:
        return contains_answer(output, item.gold, first_words=5)


def _moments(seed: int) -> list[Moment]:
    days_in_range = (LAST_CURRENT_DATE - FIRST_CURRENT_DATE).days + 1
    days = [FIRST_CURRENT_DATE + datetime.timedelta(days=count) for count in range(days_in_range)]
    days.sort(key=lambda day: _draw(seed, "current", day))
    return [_moment(seed, day) for day in days[:_CURRENT_DATES]]


def _moment(seed: int, current: datetime.date) -> Moment:
    days_back = (current - (current - relativedelta(years=_YEARS_AROUND))).days
    days_ahead = ((current + relativedelta(years=_YEARS_AROUND)) - current).days
    back = 1 + _draw(seed, "past", current) % days_back
    ahead = 1 + _draw(seed, "future", current) % days_ahead
    return Moment(
        current, current - datetime.timedelta(days=back), current + datetime.timedelta(days=ahead)
    )


def _questions(
    combination: Combination, moments: Sequence[Moment], seed: int
) -> Iterator[BenchmarkItem]:
    number = 0
    for moment in sorted(moments, key=lambda moment: _draw(seed, combination.name, moment.current)):
        if query := combination.build(moment, number, *combination.options):
            yield BenchmarkItem(
                item_id=f"dateset-{combination.name}-{number:04d}",
                prompt=QUESTION_PROMPT.format(question=query.question),
                gold=query.gold,
                current_date=moment.current,
                group=combination.kind,
                bare_texts=(query.question,),
            )
            number += 1


def _sample(items: Sequence[BenchmarkItem], count: int, seed: int) -> list[BenchmarkItem]:
    """Return a sample that covers every kind, in the order of the items.

    The kinds take turns, and so do the combinations within a kind. So 7 items cover all kinds and
    47 items all combinations.
    """
    strata: dict[str | None, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, item in enumerate(items):
        combination = item.item_id.removeprefix("dateset-").rpartition("-")[0]
        strata[item.group][combination].append(index)
    ranked: list[tuple[int, int, int, int]] = []
    for kind_rank, combinations in enumerate(strata.values()):
        order = sorted(combinations, key=lambda name: _draw(seed, "combination", name))
        for position, name in enumerate(order):
            members = sorted(
                combinations[name], key=lambda index: _draw(seed, "item", items[index].item_id)
            )
            ranked.extend((rank, position, kind_rank, index) for rank, index in enumerate(members))
    return [items[index] for index in sorted(row[-1] for row in sorted(ranked)[:count])]


def _draw(*key: object) -> int:
    """Return a pseudo-random number that depends only on the key."""
    return number_digest(*key, separator="|")
