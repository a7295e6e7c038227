"""LAMA: statements of which one fact is missing (paper §4.2.1).

The correct word is the label of the object, as in LAMA's own measure. Its aliases do not count:
among them are words such as `be` for Belgium, which stand in many wrong answers too.
"""

from toolformer.evaluation.benchmarks.benchmark import StopRule
from toolformer.evaluation.benchmarks.prompts import CLOZE_PROMPT, text_before_gap
from toolformer.evaluation.benchmarks.question_benchmark import QuestionBenchmark
from toolformer.evaluation.benchmarks.rows import Asked, LeftOutRowError, Row
from toolformer.evaluation.scoring import score_lama

MASK = "[MASK]"


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


def _single_sentence(row: Row) -> Asked:
    statement = text_before_gap(row.text("masked_sentence"), MASK)
    answer_column = "obj_label" if "obj_label" in row else "answer"
    return Asked(statement, row.texts(answer_column), group=_relation(row))


def _relation(row: Row) -> str | None:
    if "pred" in row:
        # Google-RE writes paths: /people/person/date_of_birth.
        return row.text("pred").rpartition("/")[2]
    return row.optional_text("predicate_id") or row.optional_text("relation")


class Lama(QuestionBenchmark):
    """What the three parts have in common: prompt, blocked tool, five words."""

    prompt_template = CLOZE_PROMPT
    rule = staticmethod(score_lama)
    # The statements come from Wikipedia.
    blocked_tools = ("WikiSearch",)
    stop_rule = StopRule(max_new_tokens=16)
    id_columns = ("id", "uuid")
    folder_patterns = ("*.jsonl", "*.jsonl.gz")


class LamaSquad(Lama):
    """SQuAD: questions turned into statements; `Squad/test.jsonl` of LAMA's data."""

    name = "lama-squad"
    formats = (("masked_sentence", _single_sentence), ("masked_sentences", _joined_sentences))


class LamaGoogleRe(Lama):
    """Google-RE: places and dates of birth and death; the folder `Google_RE` of LAMA's data."""

    name = "lama-google-re"
    formats = (("masked_sentence", _single_sentence), ("masked_sentences", _joined_sentences))


class LamaTrex(Lama):
    """T-REx: 41 relations of Wikidata; the folder `TREx` of LAMA's data, a file a relation.

    A fact is one item, although it comes with several evidences.
    """

    name = "lama-trex"
    formats = (("evidences", _first_fitting_evidence), ("masked_sentence", _single_sentence))
