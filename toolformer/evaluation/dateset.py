"""DATESET: questions about dates that can only be answered by one who knows today's date.

Every question goes with a presumed current date, which the calendar tool returns when it is
called. The paper names the seven kinds of question, their options and their counts, but not how
its dates lead to these counts. They are all multiples of 200, so we read them as 200 queries for
each combination of options:

| kind               | combinations                                               |  n | queries |
|--------------------|------------------------------------------------------------|----|---------|
| `day_distance`     | past, future                                               |  2 |     400 |
| `past_part`        | 4 parts; the units of the distance alternate               |  4 |     800 |
| `future_part`      | 4 parts                                                    |  4 |     800 |
| `weekday_of_date`  | past, future                                               |  2 |     400 |
| `relative_day`     | 4 parts × 5 relative days; the day fixes the verb          | 20 |   4,000 |
| `holiday_part`     | 3 parts × 3 thirds of the year; the date fixes the verb    |  9 |   1,800 |
| `holiday_distance` | 3 units × (past, future)                                   |  6 |   1,200 |

Whole years to a holiday of the same year are always zero, hence three units in the last kind. The
thirds of the year are our way to fill nine combinations and to spread the holidays.

Order and choice come from hashes instead of a random generator: equal seeds give equal items on
every Python version, and fewer queries per combination are a prefix of more.

Does not read the clock, build prompts or score answers (see `prompts.question_prompt` and
`scoring.score_lama`).
"""

import datetime
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from dateutil.relativedelta import relativedelta

from toolformer.evaluation.dateset_templates import COMBINATIONS, Combination, Kind, Moment
from toolformer.ground.digests import number_digest

FIRST_CURRENT_DATE = datetime.date(2010, 1, 1)
LAST_CURRENT_DATE = datetime.date(2025, 12, 31)
YEARS_AROUND = 4


@dataclass(frozen=True, slots=True)
class DatesetItem:
    """One question.

    Attributes:
        item_id: Kind, options and number within the combination; unique in one set.
        kind: Which of the seven kinds.
        combination: Kind and options, the stratum of `sample_dateset`.
        current_date: The presumed date of today.
        question: The question, without a prompt.
        gold: Accepted answers: weekday or month in words, the day of the month with and without
            its ending, numbers in digits (from 1,000 on with and without comma).
        template: The question with its options left open.
    """

    item_id: str
    kind: Kind
    combination: str
    current_date: datetime.date
    question: str
    gold: tuple[str, ...]
    template: str


def generate_dateset(
    *, seed: int, dates: int = 500, queries_per_combination: int = 200
) -> list[DatesetItem]:
    """Generate the question set; 9,400 questions with the defaults.

    Every current date gets one past and one future date at most four years away. Within one
    combination no current date is used twice.

    Args:
        seed: Selects dates and their order.
        dates: Number of different current dates, drawn from 2010 to 2025.
        queries_per_combination: Questions for each of the 47 combinations of options; must be
            somewhat smaller than `dates`, since some dates fit no holiday.

    Returns:
        47 × `queries_per_combination` items, ordered by kind, combination and number.

    Raises:
        ValueError: If a count is out of range or there are too few dates for the queries.

    Paper: section 4.2.5 and the appendix on DATESET (kinds and counts; the wording is ours).

    Example:
        >>> item = generate_dateset(seed=1, dates=20, queries_per_combination=1)[0]
        >>> item.item_id, item.question.endswith("?"), item.gold[0].isdigit()
        ('dateset-day_distance-past-0000', True, True)
    """
    moments = _moments(seed, dates)
    if queries_per_combination < 1:
        raise ValueError(
            f"queries_per_combination is {queries_per_combination}; at least 1 is needed. Raise it."
        )
    return [
        item
        for combination in COMBINATIONS
        for item in _fill(combination, moments, seed=seed, count=queries_per_combination)
    ]


def sample_dateset(items: Sequence[DatesetItem], n: int, seed: int) -> list[DatesetItem]:
    """Take a small part of the set in which every kind is represented.

    The kinds take turns, within a kind its combinations, until each combination has given one
    item; then the next round begins. So 7 items cover all kinds and 47 all combinations.

    Args:
        items: The items to choose from.
        n: Number of items wanted.
        seed: Selects the combinations that come first, and the items within them.

    Returns:
        `n` different items in the order of `items`.

    Raises:
        ValueError: If `n` is negative or larger than the number of items.
    """
    if not 0 <= n <= len(items):
        raise ValueError(
            f"The sample size is {n}; expected 0 to {len(items)}, the number of items. "
            "Lower it or generate more queries per combination."
        )
    strata: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, item in enumerate(items):
        strata[item.kind][item.combination].append(index)
    ranked: list[tuple[int, int, int, int]] = []
    for kind_rank, combinations in enumerate(strata.values()):
        order = sorted(combinations, key=lambda name: _draw(seed, "combination", name))
        for turn, name in enumerate(order):
            members = sorted(
                combinations[name], key=lambda index: _draw(seed, "item", items[index].item_id)
            )
            ranked.extend((rank, turn, kind_rank, index) for rank, index in enumerate(members))
    return [items[index] for index in sorted(row[-1] for row in sorted(ranked)[:n])]


def _moments(seed: int, dates: int) -> list[Moment]:
    days_in_range = (LAST_CURRENT_DATE - FIRST_CURRENT_DATE).days + 1
    if not 1 <= dates <= days_in_range:
        raise ValueError(
            f"dates is {dates}; expected 1 to {days_in_range}, the days from {FIRST_CURRENT_DATE} "
            f"to {LAST_CURRENT_DATE}. Choose a number in this range."
        )
    days = [FIRST_CURRENT_DATE + datetime.timedelta(days=count) for count in range(days_in_range)]
    days.sort(key=lambda day: _draw(seed, "current", day))
    return [_moment(seed, day) for day in days[:dates]]


def _moment(seed: int, current: datetime.date) -> Moment:
    days_back = (current - (current - relativedelta(years=YEARS_AROUND))).days
    days_ahead = ((current + relativedelta(years=YEARS_AROUND)) - current).days
    back = 1 + _draw(seed, "past", current) % days_back
    ahead = 1 + _draw(seed, "future", current) % days_ahead
    return Moment(
        current,
        current - datetime.timedelta(days=back),
        current + datetime.timedelta(days=ahead),
    )


def _fill(
    combination: Combination, moments: list[Moment], *, seed: int, count: int
) -> list[DatesetItem]:
    items: list[DatesetItem] = []
    for moment in sorted(moments, key=lambda moment: _draw(seed, combination.name, moment.current)):
        if len(items) == count:
            break
        query = combination.build(moment, len(items), *combination.options)
        if query is not None:
            items.append(
                DatesetItem(
                    item_id=f"dateset-{combination.name}-{len(items):04d}",
                    kind=combination.kind,
                    combination=combination.name,
                    current_date=moment.current,
                    question=query.template.format(**query.values),
                    gold=query.gold,
                    template=query.template,
                )
            )
    if len(items) < count:
        raise ValueError(
            f"{len(moments)} dates give only {len(items)} questions for {combination.name!r}; "
            f"{count} are wanted. Raise dates or lower queries_per_combination."
        )
    return items


def _draw(*key: object) -> int:
    """Map a key to a number that looks random and is the same everywhere."""
    return number_digest(*key, separator="|")
