"""Word problems with a number as answer (paper §4.2.2), and sums of our own."""

import re
from pathlib import Path

from toolformer.evaluation.benchmarks.benchmark import StopRule
from toolformer.evaluation.benchmarks.prompts import PROBLEM_PROMPT
from toolformer.evaluation.benchmarks.question_benchmark import QuestionBenchmark
from toolformer.evaluation.benchmarks.rows import Asked, InvalidRowError, LeftOutRowError, Row
from toolformer.evaluation.scoring import score_numbers, score_rounded_numbers

_SUMS = Path(__file__).with_name("sums.jsonl")


def _problem(row: Row) -> Asked:
    return Asked(row.text("question"), _one_number(row, "answer"), group=row.optional_text("type"))


def _svamp(row: Row) -> Asked:
    problem = f"{row.text('body')} {row.text('question')}"
    return Asked(problem, _one_number(row, "answer"), group=row.optional_text("type"))


def _asdiv(row: Row) -> Asked:
    problem = f"{row.text('body')} {row.text('question')}"
    row.text("answer")
    try:
        answer = _one_number(row, "answer")
    except InvalidRowError as error:
        # "5 (quarters); 3 (dimes)", "yes", "1:30"
        raise LeftOutRowError("answer_not_one_number") from error
    return Asked(problem, answer, group=row.optional_text("solution_type"))


def _mawps(row: Row) -> Asked:
    return Asked(row.text("squestion"), _one_number(row, "lsolutions"))


def _one_number(row: Row, column: str) -> tuple[str, ...]:
    numbers = row.numbers(column)
    if len(numbers) != 1:
        raise LeftOutRowError("answer_not_one_number")
    return numbers


class Mathematics(QuestionBenchmark):
    """What the three sets have in common: the prompt, and the rule for numbers."""

    prompt_template = PROBLEM_PROMPT
    rule = staticmethod(score_numbers)
    rounded_rule = staticmethod(score_rounded_numbers)
    # Some copies have the numbers in a column of their own.
    placeholder = re.compile(r"\bN_[0-9]+|\bnumber[0-9]+")
    version = "2"
    stop_rule = StopRule(max_new_tokens=40)


class Asdiv(Mathematics):
    """ASDiv; its XML, or the same columns as JSON."""

    name = "asdiv"
    formats = (("body", _asdiv), ("question", _problem))


class Svamp(Mathematics):
    """SVAMP; its JSON array."""

    name = "svamp"
    formats = (("body", _svamp), ("question", _problem))


class Mawps(Mathematics):
    """MAWPS; its JSON array with `sQuestion` and `lSolutions`."""

    name = "mawps"
    formats = (("squestion", _mawps), ("body", _svamp), ("question", _problem))
    id_columns = ("id", "iindex")


class Sums(Mathematics):
    """Forty sentences like those of the starter texts, each cut off behind the `=` of a sum.

    Ours: small enough for a demonstration, and only as hard as the arithmetic itself.
    """

    name = "sums"
    # The beginning of the sentence as it is.
    prompt_template = "{question}"
    formats = (("question", _problem),)
    stop_rule = StopRule(max_new_tokens=16)

    def __init__(self) -> None:
        super().__init__(_SUMS)
