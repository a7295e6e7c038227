"""Question answering by itself: how often passages with the answer are found, and it in them.

Builds a BM25 index and one of dense vectors over the passages of the test data, and measures BM25,
dense vectors and both together on NQ-open, TriviaQA, WebQuestions, and the statements of LAMA's
SQuAD and T-REx; then the reader's answers to the questions. All that is made is kept in --work, so
that an interrupted measurement goes on.

    python -m benchmarks.question_answering --work FOLDER [--json FILE] [--no-answers]
        [--questions 100] [--half reported] [--set tools.QA.options.passages=20]
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.answer_accuracy import answer_table
from benchmarks.open_questions import (
    CHOSEN,
    REPORTED,
    Question,
    half_of,
    read_passages,
    read_questions,
)
from dagster_project.commands.options import RunOptions
from dagster_project.home import Home
from dagster_project.settings.sections import Settings, merged, validated
from dagster_project.wiring.model_holder import ModelHolder
from dagster_project.wiring.reader import open_reader
from dagster_project.wiring.retriever import BM25_TEMPERATURE, open_retriever
from toolformer.forward.checkpoint import Checkpoint
from tools.question_answering import QA
from tools.retrieval.hybrid_ranking import DenseRetriever, HybridRetriever
from tools.retrieval.passage_index import (
    build_passage_index,
    open_encoder,
    passage_index_information,
)
from tools.retrieval.retrieval_tool import StoredPassage
from tools.retrieval.wikipedia_index import build_index, index_information

RETRIEVERS = ("bm25", "dense", "hybrid")
# The statements of LAMA are no questions.
READ_SETS = ("NQ-open", "TriviaQA", "WebQuestions")
_DEPTHS = (1, 3, 10)
_READ_PASSAGES = 3
# Of differences of scores that make a passage e times as probable.
_TEMPERATURES = (0.05, 0.1, 0.2, 0.4, 1.0, 2.0, 3.0, 5.0, 8.0)
_QUESTIONS_PER_STEP = 10
_RANKED_PER_STEP = 250
_FINGERPRINT = "test data passages"

Ranking = Sequence[StoredPassage]


@dataclass(frozen=True)
class Measurement:
    """Indexes, rankings and answers, each made once.

    Attributes:
        work: where everything is kept.
        data: the test data.
        settings: retriever, reader and passage index are taken from them.
        sets: the questions.
        seed: of the halves.
    """

    work: Path
    data: Path
    settings: Settings
    sets: Mapping[str, Sequence[Question]]
    seed: int

    def build_indexes(self) -> dict[str, Any]:
        """Build what is missing, and say what is known about both indexes."""
        home = Home(self.work)
        if index_information(home.wikipedia_index) is None:
            build_index(read_passages(self.data), home.wikipedia_index, fingerprint=_FINGERPRINT)
        encoder = open_encoder(self.settings.passage_index.model_dump(), lambda: "cpu")
        fingerprint = f"{_FINGERPRINT} {encoder.identity}"
        information = passage_index_information(home.passage_index)
        if information is None or information["fingerprint"] != fingerprint:
            build_passage_index(
                read_passages(self.data),
                home.passage_index,
                encoder,
                fingerprint=fingerprint,
                wikipedia_index=_FINGERPRINT,
                progress=lambda done: _say(f"encoded {done:,} passages"),
            )
        return {
            "bm25": index_information(home.wikipedia_index),
            "dense": passage_index_information(home.passage_index),
        }

    def with_retriever(self, name: str) -> Settings:
        """The settings with another retriever."""
        changes = {"question_answering": {"retriever": name}}
        return validated(merged(self.settings.model_dump(), changes), origin="retriever")

    def rankings(self, retriever_name: str, set_name: str) -> dict[str, Ranking]:
        """The first passages of each question, by its id."""
        retriever = open_retriever(self.with_retriever(retriever_name), Home(self.work))
        kept = Checkpoint(
            self.work / "rankings" / f"{retriever_name} {set_name}", fingerprint=retriever.version()
        )
        rankings: dict[str, Ranking] = {}
        questions = self.sets[set_name]
        for start in range(0, len(questions), _RANKED_PER_STEP):

            def rank(start: int = start) -> dict[str, Ranking]:
                some = questions[start : start + _RANKED_PER_STEP]
                began = time.monotonic()
                ranked = retriever.rank([question.text for question in some], max(_DEPTHS))
                speed = len(some) / (time.monotonic() - began)
                _say(f"{retriever_name} ranked {set_name}: {speed:,.0f} questions a second")
                return {
                    question.question_id: list(ranking)
                    for question, ranking in zip(some, ranked, strict=True)
                }

            rankings |= kept.step(f"{start:05d}", rank)
        return rankings

    def retrieval_table(self) -> list[dict[str, Any]]:
        """Percent of questions with an accepted answer in their first passages."""
        rows = []
        for set_name, questions in self.sets.items():
            for retriever in RETRIEVERS:
                rankings = self.rankings(retriever, set_name)
                found = [
                    [question.is_answered_by(str(passage["text"])) for passage in ranking]
                    for question in questions
                    for ranking in [rankings[question.question_id]]
                ]
                rows.append(
                    {
                        "set": set_name,
                        "questions": len(questions),
                        "retriever": retriever,
                        **{
                            f"top {depth}": round(
                                100 * sum(any(hits[:depth]) for hits in found) / len(found), 1
                            )
                            for depth in _DEPTHS
                        },
                    }
                )
        return rows

    def temperature_table(self) -> list[dict[str, Any]]:
        """How probable temperatures make the passages with an answer, on the half to choose on.

        The mean logarithm of the share of weight that they have among the passages that are read,
        over the questions for which some of these hold an answer and some do not.
        """
        temperatures = {
            "bm25": BM25_TEMPERATURE,
            "dense": DenseRetriever.temperature,
            "hybrid": HybridRetriever.temperature,
        }
        rows = []
        for retriever, temperature in temperatures.items():
            scores, answers = [], []
            for set_name in READ_SETS:
                rankings = self.rankings(retriever, set_name)
                for question in half_of(self.sets[set_name], CHOSEN, seed=self.seed):
                    ranking = rankings[question.question_id][:_READ_PASSAGES]
                    hits = [question.is_answered_by(str(each["text"])) for each in ranking]
                    if len(hits) == _READ_PASSAGES and any(hits) and not all(hits):
                        scores.append([float(each["score"]) * temperature for each in ranking])
                        answers.append(hits)
            for candidate in _TEMPERATURES:
                logarithms = np.array(scores) / candidate
                with_answer = np.where(answers, logarithms, -np.inf)
                shares = np.logaddexp.reduce(with_answer, axis=1) - np.logaddexp.reduce(
                    logarithms, axis=1
                )
                rows.append(
                    {
                        "retriever": retriever,
                        "questions": len(scores),
                        "temperature": candidate,
                        "mean log share": round(float(shares.mean()), 3),
                    }
                )
        return rows

    def answers(
        self, retriever_name: str, set_name: str, questions: Sequence[Question]
    ) -> list[dict[str, Any]]:
        """What the tool answers, whatever its probability, where it could be right.

        An answer is a stretch of a passage. Where none of those that are read holds an accepted
        one, nothing is read: four questions of five.
        """
        settings, home = self.with_retriever(retriever_name), Home(self.work)
        rankings = self.rankings(retriever_name, set_name)
        holder = ModelHolder()
        tool = QA(
            open_retriever(settings, home),
            open_reader(settings, home, holder),
            **dict(settings.tools.QA.options),  # pyright: ignore[reportArgumentType]
        )
        kept = Checkpoint(
            self.work / "answers" / f"{retriever_name} {set_name} {questions[0].question_id}",
            fingerprint=f"{tool.passages} {tool.retriever.version()} {tool.reader.version()}",
        )
        readable = [
            (question, passages)
            for question in questions
            for passages in [rankings[question.question_id][: tool.passages]]
            if any(question.is_answered_by(f"{p['title']}. {p['text']}") for p in passages)
        ]
        rows: list[dict[str, Any]] = []
        try:
            for start in range(0, len(readable), _QUESTIONS_PER_STEP):
                some = readable[start : start + _QUESTIONS_PER_STEP]
                rows += kept.step(f"{start:05d}-{len(some)}", lambda some=some: _read(tool, some))
                _say(f"{retriever_name} {set_name}: answered {len(rows)} of {len(readable)}")
        finally:
            holder.release()
        return rows


def _read(tool: QA, asked: Sequence[tuple[Question, Ranking]]) -> list[dict[str, Any]]:
    began = time.process_time()
    answers = tool.reader.read([(question.text, passages) for question, passages in asked])
    seconds = (time.process_time() - began) / len(asked)
    return [
        {
            "question": question.text,
            "accepted": question.answers,
            "answer": "" if answer is None else answer.text,
            "probability": 0.0 if answer is None else answer.probability,
            "seconds": seconds,
        }
        for (question, _), answer in zip(asked, answers, strict=True)
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of what is made")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--no-answers", action="store_true", help="measure retrieval alone")
    parser.add_argument("--questions", type=int, default=100, help="questions answered per set")
    parser.add_argument("--half", choices=(CHOSEN, REPORTED), default=REPORTED)
    parser.add_argument("--seed", type=int, default=0, help="of the halves")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the project"
    )
    options = parser.parse_args()
    folder = os.environ.get("TOOLFORMER_TEST_DATA")
    if not folder:
        sys.exit("TOOLFORMER_TEST_DATA is not set. Set it to a folder with the test data.")
    settings = validated(RunOptions.of(None, options.set).overrides, origin="--set")
    options.work.mkdir(parents=True, exist_ok=True)
    data = Path(folder)
    measurement = Measurement(options.work, data, settings, read_questions(data), options.seed)
    figures: dict[str, Any] = {"indexes": measurement.build_indexes()}
    figures["retrieval"] = measurement.retrieval_table()
    _print_table(figures["retrieval"])
    figures["temperatures"] = measurement.temperature_table()
    _print_table(figures["temperatures"])
    if not options.no_answers:
        figures["answers"], figures["examples"] = [], {}
        for name in READ_SETS:
            questions = half_of(measurement.sets[name], options.half, seed=options.seed)
            for retriever in ("bm25", "hybrid"):
                some = questions[: options.questions]
                rows = measurement.answers(retriever, name, some)
                heading = {"set": name, "questions": len(some), "retriever": retriever}
                figures["answers"] += [heading | row for row in answer_table(rows)]
                figures["examples"][f"{name}, {retriever}"] = rows[:20]
        _print_table(figures["answers"])
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """A table in Markdown."""
    names = list(rows[0])
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for row in rows:
        print(f"| {' | '.join(str(row[name]) for name in names)} |")
    print(flush=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
