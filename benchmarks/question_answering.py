"""Question answering by itself: how often passages with the answer are found, and it in them.

Builds a BM25 index and one of dense vectors over the passages of the test data, and measures BM25,
dense vectors and their fusion on NQ-open, TriviaQA, WebQuestions and XQuAD; then the answers of the
reader. All that is made is kept in --work, so that an interrupted measurement goes on.

    python -m benchmarks.question_answering --work FOLDER [--json FILE] [--no-answers]
        [--questions 500] [--half reported] [--set question_answering.question_weight=0.5]
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.answer_accuracy import answer_table
from benchmarks.open_questions import (
    CHOSEN,
    DEPTHS,
    HALVES,
    REPORTED,
    Question,
    half_of,
    read_passages,
    read_questions,
    recall,
)
from dagster_project.commands.options import RunOptions
from dagster_project.home import Home
from dagster_project.settings.sections import Settings, merged, validated
from dagster_project.wiring.model_holder import ModelHolder
from dagster_project.wiring.reader import open_reader
from dagster_project.wiring.retriever import open_retriever
from toolformer.forward.checkpoint import Checkpoint
from tools.question_answering import QA
from tools.retrieval.dense_index import DenseBuild, build_dense_index, dense_index_information
from tools.retrieval.dense_vectors import DenseIndexKind
from tools.retrieval.hybrid_ranking import reciprocal_rank_fusion
from tools.retrieval.latent_vectors import LatentVectors
from tools.retrieval.passage_ranking import Hit
from tools.retrieval.retrieval_tool import stored_passage
from tools.retrieval.wikipedia_index import build_index, index_information

RETRIEVERS = ("bm25", "dense", "hybrid")
_CONSTANTS, _WEIGHTS = (5.0, 20.0, 60.0), (0.1, 0.3, 1.0)
_QUESTIONS_PER_STEP = 25
_FINGERPRINT = "test data passages"


class Measurement:
    """Indexes, rankings and answers, each made once.

    Args:
        work: where everything is kept.
        data: the test data.
        settings: retriever, reader and passage index are taken from them.
        seed: of the halves.
    """

    def __init__(self, work: Path, data: Path, settings: Settings, *, seed: int):
        self.home = Home(work)
        self.settings = settings
        self._seed = seed
        self._work = work
        self.passages = {passage.passage_id: passage for passage in read_passages(data)}
        self.sets = read_questions(data)

    def half(self, name: str, half: str) -> list[Question]:
        """One half of a set."""
        return half_of(self.sets[name], half, seed=self._seed)

    def build_indexes(self) -> dict[str, Any]:
        """Build what is missing, and say what is known about both indexes."""
        if index_information(self.home.wikipedia_index) is None:
            build_index(self.passages.values(), self.home.wikipedia_index, fingerprint=_FINGERPRINT)
        of = self.settings.passage_index
        fingerprint = f"{_FINGERPRINT} {of.model_dump_json()}"
        found = dense_index_information(self.home.passage_index)
        if found is None or found["fingerprint"] != fingerprint:
            build_dense_index(
                self.passages.values(),
                self.home.passage_index,
                DenseBuild(
                    fingerprint,
                    lambda texts: LatentVectors.fit(
                        texts, dimension=of.dimension, most_terms=of.most_terms, seed=of.seed
                    ),
                    sample_passages=of.sample_passages,
                    chunk_passages=of.chunk_passages,
                    kind=DenseIndexKind(of.flat_limit, of.code_bytes),
                    seed=of.seed,
                ),
                progress=lambda done, total: _say(f"encoded {done:,} of {total:,} passages"),
            )
        return {
            "bm25": index_information(self.home.wikipedia_index),
            "dense": dense_index_information(self.home.passage_index),
        }

    def rankings(self, retriever_name: str, set_name: str) -> dict[str, list[tuple[str, float]]]:
        """Passage ids and scores by question id; those of the fusion follow from the others."""
        if retriever_name == "hybrid":
            of = self.settings.question_answering
            return self.fused(set_name, constant=of.fusion_constant, weight=of.dense_weight)
        settings = _with(self.settings, {"question_answering": {"retriever": retriever_name}})
        retriever = open_retriever(settings, self.home)
        depth = settings.question_answering.fused_passages
        kept = Checkpoint(
            self._work / "rankings" / f"{retriever_name} {set_name}",
            fingerprint=f"{depth} {retriever.version()}",
        )

        def rank() -> dict[str, list[tuple[str, float]]]:
            questions = self.sets[set_name]
            began = time.monotonic()
            found = retriever.rank([question.text for question in questions], depth)
            seconds = time.monotonic() - began
            _say(f"{retriever_name} ranked {set_name}: {len(questions) / seconds:,.0f} a second")
            return {
                question.question_id: [(hit.passage.passage_id, hit.score) for hit in ranking]
                for question, ranking in zip(questions, found, strict=True)
            }

        return kept.step("rankings", rank)

    def fused(
        self, set_name: str, *, constant: float, weight: float
    ) -> dict[str, list[tuple[str, float]]]:
        """What `HybridRetriever` gives, from rankings that are there already."""
        parts = [self.rankings(name, set_name) for name in RETRIEVERS[:2]]
        return {
            question: [
                (name, math.log(share))
                for name, share in reciprocal_rank_fusion(
                    [[name for name, _ in part[question]] for part in parts],
                    weights=(1.0, weight),
                    constant=constant,
                )
            ]
            for question in parts[0]
        }

    def sweep(self) -> list[dict[str, Any]]:
        """Recall of other fusions on the half that is chosen on."""
        return [
            {
                "set": set_name,
                "constant": constant,
                "dense weight": weight,
                **self._recall(
                    set_name, CHOSEN, self.fused(set_name, constant=constant, weight=weight)
                ),
            }
            for set_name in self.sets
            for constant in _CONSTANTS
            for weight in _WEIGHTS
        ]

    def _recall(
        self, set_name: str, half: str, rankings: Mapping[str, Sequence[tuple[str, float]]]
    ) -> dict[str, float]:
        ids = {
            question: [name for name, _ in ranking[: max(DEPTHS)]]
            for question, ranking in rankings.items()
        }
        found = recall(self.half(set_name, half), ids, self.passages.__getitem__)
        return {depth: round(share, 1) for depth, share in found.items()}

    def retrieval_table(self) -> list[dict[str, Any]]:
        """Recall of each retriever on each half of each set."""
        return [
            {
                "set": set_name,
                "half": half,
                "questions": len(self.half(set_name, half)),
                "retriever": name,
                **self._recall(set_name, half, self.rankings(name, set_name)),
            }
            for set_name in self.sets
            for half in HALVES
            for name in RETRIEVERS
        ]

    def answers(self, set_name: str, questions: Sequence[Question]) -> list[dict[str, Any]]:
        """What the tool answers, whatever its probability."""
        name = self.settings.question_answering.retriever
        rankings = self.rankings(name, set_name)
        holder = ModelHolder()
        tool = QA(
            open_retriever(self.settings, self.home),
            open_reader(self.settings, self.home, holder),
            **dict(self.settings.tools.QA.options),  # pyright: ignore[reportArgumentType]
        )
        kept = Checkpoint(
            self._work / "answers" / f"{set_name} {questions[0].question_id}",
            fingerprint=f"{tool.passages} {tool.retriever.version()} {tool.reader.version()}",
        )
        rows: list[dict[str, Any]] = []
        try:
            for start in range(0, len(questions), _QUESTIONS_PER_STEP):
                some = questions[start : start + _QUESTIONS_PER_STEP]
                rows += kept.step(
                    f"{start:05d}-{len(some)}", lambda some=some: self._read(tool, some, rankings)
                )
                _say(f"{set_name}: answered {len(rows)} of {len(questions)}")
        finally:
            holder.release()
        return rows

    def _read(
        self,
        tool: QA,
        questions: Sequence[Question],
        rankings: Mapping[str, Sequence[tuple[str, float]]],
    ) -> list[dict[str, Any]]:
        read = [self._top(rankings[question.question_id], tool.passages) for question in questions]
        began, began_cpu = time.monotonic(), time.process_time()
        answers = tool.reader.read(
            [(question.text, top) for question, top in zip(questions, read, strict=True)]
        )
        seconds = (time.monotonic() - began) / len(questions)
        cpu_seconds = (time.process_time() - began_cpu) / len(questions)
        return [
            {
                "question": question.text,
                "accepted": question.answers,
                "answer": "" if answer is None else answer.text,
                "probability": 0.0 if answer is None else answer.probability,
                "is_readable": any(
                    question.is_answerable_from(self.passages[str(passage["passage_id"])])
                    for passage in top
                ),
                "seconds": seconds,
                "cpu_seconds": cpu_seconds,
            }
            for question, top, answer in zip(questions, read, answers, strict=True)
        ]

    def _top(self, ranking: Sequence[tuple[str, float]], count: int) -> list[dict[str, Any]]:
        return [
            dict(stored_passage(Hit(self.passages[name], score))) for name, score in ranking[:count]
        ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of what is made")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--no-answers", action="store_true", help="measure retrieval alone")
    parser.add_argument("--questions", type=int, default=500, help="questions answered per set")
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
    measurement = Measurement(options.work, Path(folder), settings, seed=options.seed)
    figures: dict[str, Any] = {"indexes": measurement.build_indexes()}
    figures["retrieval"] = measurement.retrieval_table()
    figures["sweep"] = measurement.sweep()
    _print_table(figures["retrieval"])
    _print_table(figures["sweep"])
    if not options.no_answers:
        figures["answers"], figures["examples"] = [], {}
        for name in measurement.sets:
            rows = measurement.answers(
                name, measurement.half(name, options.half)[: options.questions]
            )
            figures["answers"] += answer_table(name, rows)
            figures["examples"][name] = rows[:20]
        _print_table(figures["answers"])
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")


def _with(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    return validated(merged(settings.model_dump(), changes), origin="retriever")


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
