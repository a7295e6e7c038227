"""Word problems with a number as answer (paper §4.2.2), and sums of our own."""

from pathlib import Path

from toolformer.evaluation.benchmarks.benchmark import StopRule
from toolformer.evaluation.benchmarks.prompts import PROBLEM_PROMPT
from toolformer.evaluation.benchmarks.question_benchmark import QuestionBenchmark
from toolformer.evaluation.benchmarks.rows import Asked, InvalidRowError, LeftOutRowError, Row
from toolformer.evaluation.scoring import score_numbers

_SUMS = Path(__file__).with_name("sums.jsonl")


def _problem(row: Row) -> Asked:
    return Asked(row.text("question"), _one_number(row, "answer"), group=row.optional_text("type"))


def _svamp(row: Row) -> Asked:
    problem = f"{row.text('Body')} {row.text('Question')}"
    return Asked(problem, _one_number(row, "Answer"), group=row.optional_text("Type"))


def _asdiv(row: Row) -> Asked:
    problem = f"{row.text('Body')} {row.text('Question')}"
    row.text("Answer")
    try:
        answer = _one_number(row, "Answer")
    except InvalidRowError as error:
        # "5 (quarters); 3 (dimes)", "yes", "1:30"
        raise LeftOutRowError("answer_not_one_number") from error
    return Asked(problem, answer, group=row.optional_text("Solution-Type"))


def _mawps(row: Row) -> Asked:
    return Asked(row.text("sQuestion"), _one_number(row, "lSolutions"))


def _one_number(row: Row, column: str) -> tuple[str, ...]:
    numbers = row.numbers(column)
    if len(numbers) != 1:
        raise LeftOutRowError("answer_not_one_number")
    return numbers


class Mathematics(QuestionBenchmark):
    """What the three sets have in common: the prompt, and the rule for numbers."""

    prompt_template = PROBLEM_PROMPT
    rule = staticmethod(score_numbers)
    stop_rule = StopRule(max_new_tokens=40)


class Asdiv(Mathematics):
    """ASDiv; its XML."""

    name = "asdiv"
    formats = (("Body", _asdiv), ("question", _problem))
    id_columns = ("id", "ID")


class Svamp(Mathematics):
    """SVAMP; its JSON array."""

    name = "svamp"
    formats = (("Body", _svamp), ("question", _problem))
    id_columns = ("id", "ID")


class Mawps(Mathematics):
    """MAWPS; its JSON array with `sQuestion` and `lSolutions`."""

    name = "mawps"
    formats = (("sQuestion", _mawps), ("question", _problem))
    id_columns = ("id", "iIndex")


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
