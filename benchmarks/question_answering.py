"""Measures QA on five sets of questions: how many answers are right, and how sure the reader is.

Each question is read with the best three passages (BM25) of the test data. A question is readable
if they contain an accepted answer. Other questions count as wrong without being read, except for a
sample that shows how often the reader answers anyway.

    python -m benchmarks.question_answering --home HOME [--questions 400] [--json FILE]

The first run builds the index in the home.
"""

import argparse
import gzip
import json
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from toolformer.evaluation.scoring import contains_answer, normalised_words
from toolformer.home.home import Home
from toolformer.home.wiring.toolbox import open_reader, open_retriever
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.sections import Settings
from tools.retrieval.passages import Passage, RankedPassage
from tools.retrieval.wikipedia_index import build_index

_SETS = {
    "NQ-open": "qa/nq_open_dev.jsonl",
    "TriviaQA": "qa/triviaqa_dev.jsonl.gz",
    "WebQuestions": "qa/webquestions_test.jsonl",
    "LAMA SQuAD": "lama/lama_squad.jsonl",
    "LAMA T-REx": "lama/lama_trex.jsonl.gz",
}
_PASSAGES = "text/wiki_passages.jsonl.gz"
_READ_PASSAGES = 3
_THRESHOLDS = (0.0, 0.01, 0.05, 0.2)
# Every twentieth question is read although its passages contain no accepted answer.
_UNREADABLE_STEP = 20
_QUESTIONS_PER_CALL = 16


class _Question(NamedTuple):
    text: str
    accepted: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--home", type=Path, required=True, help="folder of the index and the model"
    )
    parser.add_argument("--questions", type=int, default=400, help="questions per set")
    parser.add_argument("--json", type=Path, help="write all answers to this file")
    options = parser.parse_args()
    data = Path(os.environ["TOOLFORMER_TEST_DATA"])
    home = Home(options.home)
    settings = Settings.model_validate({"question_answering": {"retriever": "bm25"}})
    work = Workspace(settings, home)
    if not home.wikipedia_index.exists():
        passages = (
            Passage(str(number), record["title"], "", record["text"], "")
            for number, record in enumerate(_records(data / _PASSAGES))
        )
        build_index(passages, home.wikipedia_index, fingerprint="test data passages")
    retriever = open_retriever(work)
    reader = open_reader(work)
    answers: list[dict[str, Any]] = []
    print("set | questions | readable | right at p ≥", *_THRESHOLDS, "| given | not readable")
    for name, file in _SETS.items():
        questions = _questions(data / file)
        random.Random(0).shuffle(questions)
        del questions[options.questions :]
        rankings = retriever.rank([question.text for question in questions], _READ_PASSAGES)
        asked = list(_asked(questions, rankings))
        rows: list[dict[str, Any]] = []
        for start in range(0, len(asked), _QUESTIONS_PER_CALL):
            some = asked[start : start + _QUESTIONS_PER_CALL]
            found = reader.read([(question.text, ranking) for question, ranking, _ in some])
            rows += [
                {
                    "set": name,
                    "question": question.text,
                    "accepted": question.accepted,
                    "readable": is_readable,
                    "answer": answer.text if answer else None,
                    "probability": answer.probability if answer else 0.0,
                    "right": answer is not None
                    and contains_answer(answer.text, question.accepted, first_words=20),
                }
                for (question, _, is_readable), answer in zip(some, found, strict=True)
            ]
        _print_row(name, len(questions), rows)
        answers += rows
        if options.json:
            document = {"reader": reader.version(), "answers": answers}
            options.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _questions(file: Path) -> list[_Question]:
    """Read a set of questions. For a LAMA statement, the question is the text around its gap."""
    return [
        _Question(record["question"], record["answers"])
        if "question" in record
        else _Question(
            " ".join(record["masked_sentence"].replace("[MASK]", " ").split()), [record["answer"]]
        )
        for record in _records(file)
    ]


def _asked(
    questions: Sequence[_Question], rankings: Sequence[Sequence[RankedPassage]]
) -> Iterator[tuple[_Question, Sequence[RankedPassage], bool]]:
    unreadable = 0
    for question, ranking in zip(questions, rankings, strict=True):
        shown = [_words(f"{each.passage.title}. {each.passage.text}") for each in ranking]
        accepted = [words for words in map(_words, question.accepted) if words.strip()]
        is_readable = any(words in text for words in accepted for text in shown)
        unreadable += bool(ranking) and not is_readable
        if is_readable or (ranking and unreadable % _UNREADABLE_STEP == 0):
            yield question, ranking, is_readable


def _words(text: str) -> str:
    return f" {' '.join(normalised_words(text))} "


def _print_row(name: str, questions: int, rows: Sequence[dict[str, Any]]) -> None:
    readable = [row for row in rows if row["readable"]]
    others = [row for row in rows if not row["readable"]]
    right = [
        sum(row["right"] for row in readable if row["probability"] >= each) for each in _THRESHOLDS
    ]
    given = [sum(row["probability"] >= each for row in others) for each in _THRESHOLDS]
    print(name, questions, len(readable), right, given, len(others), sep=" | ", flush=True)


def _records(file: Path) -> Iterator[dict[str, Any]]:
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


if __name__ == "__main__":
    main()
