"""TempLAMA: statements whose answer changes with the year (paper §4.2.5).

The paper does not say how a model learns which year is meant. It does say that the best way would
be to ask the Calendar for today's date first and then QA with this date, which its limit of one
call forbids. Then the year cannot stand in the prompt, or no one would need the Calendar: it is
the year of the presumed today. So the prompt is that of LAMA, without the year, and the items of
one fact differ only in their date and their answers.

An item names a year, the Calendar a day. We take 1 July: on a day in the middle, an answer that
holds for most of the year does hold.
"""

from toolformer.evaluation.benchmarks.benchmark import StopRule
from toolformer.evaluation.benchmarks.prompts import CLOZE_PROMPT, text_before_gap
from toolformer.evaluation.benchmarks.question_benchmark import QuestionBenchmark
from toolformer.evaluation.benchmarks.rows import Asked, Row
from toolformer.evaluation.scoring import score_lama

MASK = "_X_"


def _query(row: Row) -> Asked:
    return Asked(
        text_before_gap(row.text("query"), MASK),
        row.texts("answer" if "answer" in row else "answers"),
        date=row.year_or_date("date"),
        group=row.optional_text("relation"),
    )


class TempLama(QuestionBenchmark):
    """TempLAMA; its JSON lines. Every answer of the year counts."""

    name = "templama"
    prompt_template = CLOZE_PROMPT
    rule = staticmethod(score_lama)
    stop_rule = StopRule(max_new_tokens=16)
    formats = (("query", _query),)
