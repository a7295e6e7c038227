"""Questions without context: Web Questions, Natural Questions, TriviaQA (paper §4.2.3), and PopQA.

A few questions of NQ have a dash or a bracket as their answer. They stay, and no output is ever
right: the paper's shares are of all questions.
"""

import re

from toolformer.evaluation.benchmarks.benchmark import StopRule
from toolformer.evaluation.benchmarks.prompts import question_prompt
from toolformer.evaluation.benchmarks.question_benchmark import QuestionBenchmark
from toolformer.evaluation.benchmarks.rows import Asked, InvalidRowError, Row, excerpt
from toolformer.evaluation.scoring import score_qa

# (list (description "Jazmyn Bieber") (description Abduction))
_DESCRIPTION = re.compile(r'\((?:description|number) (?:"((?:[^"\\]|\\.)*)"|([^()"]+))\)')


def _question(row: Row) -> Asked:
    return Asked(row.text("question"), _answers(row))


def _numbered_question(row: Row) -> Asked:
    return Asked(row.text("qtext"), _answers(row))


def _answers(row: Row) -> tuple[str, ...]:
    given = [column for column in ("answer", "answers", "aliases") if column in row] or ["answers"]
    return tuple(dict.fromkeys(text for column in given for text in row.texts(column)))


def _utterance(row: Row) -> Asked:
    target = row.text("targetvalue")
    texts = (quoted or plain for quoted, plain in _DESCRIPTION.findall(target))
    answers = tuple(dict.fromkeys(re.sub(r"\\(.)", r"\1", text).strip() for text in texts))
    if not answers or "".join(_DESCRIPTION.sub("", target).split()) != "(list)":
        raise InvalidRowError(
            f"column 'targetValue' is {excerpt(target)}; expected (list (description ANSWER))"
        )
    return Asked(row.text("utterance"), answers)


def _trivia(row: Row) -> Asked:
    if not row.holds_object("answer"):
        return _question(row)
    answer = row.part("answer")
    # The value itself is nearly always among its aliases.
    value = answer.texts("value") if "value" in answer else ()
    answers = dict.fromkeys((*value, *answer.texts("aliases")))
    return Asked(row.text("question"), tuple(answers))


def _by_popularity(row: Row) -> Asked:
    return Asked(row.text("question"), row.listed_texts("possible_answers"), group=_decade(row))


def _decade(row: Row) -> str | None:
    if "s_pop" not in row:
        return None
    (views,) = row.numbers("s_pop")
    digits = len(views.partition(".")[0])
    return "s_pop 0-9" if digits == 1 else f"s_pop 1{'0' * (digits - 1)}-{'9' * digits}"


class QuestionAnswering(QuestionBenchmark):
    """What the four sets have in common: prompt, blocked tool, twenty words."""

    # It would answer the questions by itself.
    blocked_tools = ("QA",)
    rule = staticmethod(score_qa)
    stop_rule = StopRule(max_new_tokens=40)
    formats = (("question", _question),)

    def prompt(self, question: Asked) -> str:
        """The question, with a question mark."""
        return question_prompt(question.text)


class WebQuestions(QuestionAnswering):
    """WebQS; the original JSON with `utterance` and `targetValue`, or questions and answers."""

    name = "webquestions"
    formats = (("utterance", _utterance), ("qtext", _numbered_question), ("question", _question))
    id_columns = ("id", "qid")


class NaturalQuestions(QuestionAnswering):
    """NQ; the JSON lines of NQ-open."""

    name = "nq"


class TriviaQa(QuestionAnswering):
    """TriviaQA; its JSON with `Data`, or the same columns in lower case."""

    name = "triviaqa"
    formats = (("question", _trivia),)
    id_columns = ("id", "questionid", "question_id")


class PopQa(QuestionAnswering):
    """PopQA (Mallen et al. 2022, arXiv 2212.10511); its TSV, or the same columns in other forms.

    Groups are powers of ten of `s_pop`, the views of the subject's page in a month. Its own measure
    counts an answer that stands anywhere in the output, also within a word; here it stands within
    the first twenty words, as in the other sets. The file is also a table of the facts that are
    asked for, by `subj` and `prop`.
    """

    name = "popqa"
    formats = (("possible_answers", _by_popularity),)
