"""LAMA, LMLM's T-REx, TempLAMA, our facts: statements without a fact (paper §4.2.1, §4.2.5).

The correct word of LAMA is the label of the object, as in its own measure. Its aliases do not
count: among them are words such as `be` for Belgium, which stand in many wrong answers too.
"""

from pathlib import Path

from toolformer.evaluation.benchmarks.benchmark import StopRule
from toolformer.evaluation.benchmarks.prompts import CLOZE_PROMPT
from toolformer.evaluation.benchmarks.question_benchmark import QuestionBenchmark
from toolformer.evaluation.benchmarks.rows import (
    Asked,
    InvalidRowError,
    LeftOutRowError,
    Row,
    excerpt,
)
from toolformer.evaluation.scoring import normalised_words, score_lama

MASK, _MASK_OF_TEMPLAMA = "[MASK]", "_X_"
_FACTS = Path(__file__).with_name("facts.jsonl")


def text_before_gap(statement: str, mask: str) -> str:
    """The part of a statement that a model continues.

    The paper asks only statements whose mask is the last token. A full stop behind it, or another
    sign that is no word, does not count: it would leave out nearly all of them.

    Raises:
        LeftOutRowError: A word follows, or there are several gaps.
        InvalidRowError: There is no gap, or nothing before it.

    Paper: section 4.2.1.

    Example:
        >>> text_before_gap("Dante was born in [MASK] .", "[MASK]")
        'Dante was born in'
    """
    before, *after = statement.split(mask)
    if not after:
        raise InvalidRowError(f"the statement {excerpt(statement)} has no gap; expected {mask}")
    if len(after) > 1 or normalised_words(after[0]):
        raise LeftOutRowError("mask_not_last")
    if not normalised_words(before):
        raise InvalidRowError(f"the statement {excerpt(statement)} has no words before {mask}")
    return before.strip()


def _joined_sentences(row: Row) -> Asked:
    # Sentences before the one with the gap say whom it is about.
    statement = " ".join(row.texts("masked_sentences"))
    return Asked(text_before_gap(statement, MASK), row.texts("obj_label"), group=_relation(row))


def _first_fitting_evidence(row: Row) -> Asked:
    """T-REx: the first of a fact's evidences that ends with the gap."""
    answers = row.texts("obj_label")
    for evidence in row.parts("evidences"):
        try:
            statement = text_before_gap(evidence.text("masked_sentence"), MASK)
        except LeftOutRowError:
            continue
        return Asked(statement, answers, group=_relation(row))
    raise LeftOutRowError("mask_not_last")


def _begun_sentence(row: Row) -> Asked:
    """LMLM's T-REx: asked is what stands before the gap, whatever follows it."""
    before, gap, _ = row.text("masked_sentence").partition(MASK)
    return Asked(
        text_before_gap(before + gap, MASK), row.texts("obj_surface"), group=_relation(row)
    )


def _single_sentence(row: Row) -> Asked:
    statement = text_before_gap(row.text("masked_sentence"), MASK)
    answer_column = "obj_label" if "obj_label" in row else "answer"
    return Asked(statement, row.texts(answer_column), group=_relation(row))


def _dated_query(row: Row) -> Asked:
    return Asked(
        text_before_gap(row.text("query"), _MASK_OF_TEMPLAMA),
        row.texts("answer" if "answer" in row else "answers"),
        date=row.year_or_date("date"),
        group=row.optional_text("relation"),
    )


def _cut_statement(row: Row) -> Asked:
    return Asked(row.text("question"), row.texts("answer"), group=_relation(row))


def _relation(row: Row) -> str | None:
    if "pred" in row:
        # Google-RE writes paths: /people/person/date_of_birth.
        return row.text("pred").rpartition("/")[2]
    return row.optional_text("predicate_id") or row.optional_text("relation")


class Lama(QuestionBenchmark):
    """What the parts, and LMLM's of one, have in common: prompt, blocked tool, five words."""

    prompt_template = CLOZE_PROMPT
    rule = staticmethod(score_lama)
    # The statements come from Wikipedia.
    blocked_tools = ("WikiSearch",)
    stop_rule = StopRule(max_new_tokens=16)
    id_columns = ("id", "uuid")
    folder_patterns = ("*.jsonl", "*.jsonl.gz")
    formats = (("masked_sentence", _single_sentence), ("masked_sentences", _joined_sentences))


class LamaSquad(Lama):
    """SQuAD: questions turned into statements; `Squad/test.jsonl` of LAMA's data."""

    name = "lama-squad"


class LamaGoogleRe(Lama):
    """Google-RE: places and dates of birth and death; the folder `Google_RE` of LAMA's data."""

    name = "lama-google-re"


class LamaTrex(Lama):
    """T-REx: 41 relations of Wikidata; the folder `TREx` of LAMA's data, a file a relation.

    A fact is one item, although it comes with several evidences.
    """

    name = "lama-trex"
    formats = (("evidences", _first_fitting_evidence), ("masked_sentence", _single_sentence))


class LmlmTrex(Lama):
    """The 11,615 sentences of T-REx that LMLM (arXiv 2505.15962) asks; its `trex11k.json`.

    As there, a model goes on with the beginning of the sentence, without instruction, and the
    answer is what the sentence itself says, among the first five words; here whole words in order,
    whatever their case.
    """

    name = "trex11k"
    prompt_template = "{question}"
    formats = (("masked_sentence", _begun_sentence),)


class TempLama(QuestionBenchmark):
    """TempLAMA, whose answers change with the year; its JSON lines.

    Every answer of the year counts.

    The paper does not say how a model learns which year is meant. It does say that the best way
    would be to ask the Calendar for today's date first and then QA with this date, which its limit
    of one call forbids. Then the year cannot stand in the prompt, or no one would need the
    Calendar: it is the year of the presumed today. So the prompt is that of LAMA, and the items of
    one fact differ only in their date and their answers.

    An item names a year, the Calendar a day. We take 1 July: on a day in the middle, an answer that
    holds for most of the year does hold.
    """

    name = "templama"
    prompt_template = CLOZE_PROMPT
    rule = staticmethod(score_lama)
    stop_rule = StopRule(max_new_tokens=16)
    formats = (("query", _dated_query),)


class Facts(QuestionBenchmark):
    """Forty statements about people of the table of `starter-people`, each cut off before a value.

    Ours, for a demonstration: no text of that source names any of these people.
    """

    name = "facts"
    # The beginning of the sentence as it is.
    prompt_template = "{question}"
    rule = staticmethod(score_lama)
    stop_rule = StopRule(max_new_tokens=16)
    formats = (("question", _cut_statement),)

    def __init__(self) -> None:
        super().__init__(_FACTS)
