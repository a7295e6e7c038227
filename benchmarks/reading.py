"""QA's reader: questions read together against one by one, on the same passages.

Passages are the best by BM25 among those of the test data; the index is kept in --work, where
`benchmarks.question_answering` finds it, too.

    python -m benchmarks.reading --work FOLDER [--set WebQuestions] [--questions 48] [--json FILE]
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import machine, versions
from benchmarks.open_questions import read_passages, read_questions
from dagster_project.home import Home
from dagster_project.settings.sections import validated
from dagster_project.wiring.model_holder import ModelHolder
from dagster_project.wiring.reader import open_reader
from dagster_project.wiring.retriever import open_retriever
from tools.retrieval.retrieval_tool import Answer, Reader, StoredPassage
from tools.retrieval.wikipedia_index import build_index, index_information

_PASSAGES = 3


def main() -> None:
    """Measure and print questions a second."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="home with index and model")
    parser.add_argument("--set", default="WebQuestions")
    parser.add_argument("--questions", type=int, default=48)
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()
    folder = os.environ.get("TOOLFORMER_TEST_DATA")
    if not folder:
        sys.exit("TOOLFORMER_TEST_DATA is not set. Set it to a folder with the test data.")
    options.work.mkdir(parents=True, exist_ok=True)
    home, settings, data = Home(options.work), validated({}, origin="defaults"), Path(folder)
    if index_information(home.wikipedia_index) is None:
        build_index(read_passages(data), home.wikipedia_index, fingerprint="test data passages")
    questions = [each.text for each in read_questions(data)[options.set][: options.questions]]
    rankings = open_retriever(settings, home).rank(questions, _PASSAGES)
    requests = [
        (question, ranking)
        for question, ranking in zip(questions, rankings, strict=True)
        if ranking
    ]
    holder = ModelHolder()
    try:
        reader = open_reader(settings, home, holder)
        reader.read(requests[:1])
        alone, seconds_alone = _timed(reader, [[request] for request in requests])
        together, seconds_together = _timed(reader, [requests])
    finally:
        holder.release()
    figures = {
        "machine": machine(),
        "versions": versions(),
        "set": options.set,
        "questions": len(requests),
        "questions a second, one by one": len(requests) / seconds_alone,
        "questions a second, together": len(requests) / seconds_together,
        "equal answers": sum(
            (one and one.text) == (other and other.text)
            for one, other in zip(alone, together, strict=True)
        ),
        "largest difference of a probability": max(
            abs(one.probability - other.probability)
            for one, other in zip(alone, together, strict=True)
            if one and other
        ),
    }
    text = json.dumps(figures, indent=1, ensure_ascii=False)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


def _timed(
    reader: Reader, batches: Sequence[Sequence[tuple[str, Sequence[StoredPassage]]]]
) -> tuple[list[Answer | None], float]:
    began = time.monotonic()
    answers: list[Any] = []
    for batch in batches:
        answers += reader.read(batch)
    return answers, time.monotonic() - began


if __name__ == "__main__":
    main()
