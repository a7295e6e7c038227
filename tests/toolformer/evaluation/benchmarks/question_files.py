"""Invented question files, and what is read of them."""

import json
from pathlib import Path

from toolformer.evaluation.benchmarks.benchmark import BenchmarkItem, SkippedItem
from toolformer.evaluation.benchmarks.question_file import QuestionFile
from toolformer.settings.evaluation_sections import SHIPPED_QUESTIONS, QuestionFileSettings

CLOZE = "Please complete the following text so that it is factually correct: "
ASKED = "Answer the following question: "
PARAGRAPH = (
    "Your task is to answer a question based on the following paragraph: Ada lives in Turin. "
    "Now answer the following question in English: ¿Dónde vive Ada?"
)
QUESTIONS = ("nq", "triviaqa", "webquestions")


def shipped(name: str, path: Path) -> QuestionFile:
    return QuestionFile(name, path, SHIPPED_QUESTIONS[name])


def own(name: str, path: Path, **described: object) -> QuestionFile:
    return QuestionFile(
        name, path, QuestionFileSettings.model_validate({"path": str(path), **described})
    )


def write_lines(path: Path, *rows: object) -> Path:
    """JSON lines; a text is written as it stands."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def write_json(path: Path, content: object, *, indent: int | None = None) -> Path:
    path.write_text(json.dumps(content, indent=indent), encoding="utf-8")
    return path


def items_of(benchmark) -> list[BenchmarkItem]:
    """The items, where all rows are sound."""
    entries = list(benchmark.items())
    assert all(isinstance(entry, BenchmarkItem) for entry in entries), entries
    return entries


def left_out_of(benchmark) -> dict[str, str]:
    """Reason by location."""
    return {
        entry.location: entry.reason
        for entry in benchmark.items()
        if isinstance(entry, SkippedItem)
    }


def item(item_id: str, prompt: str, *gold: str, group: str | None = None) -> BenchmarkItem:
    return BenchmarkItem(item_id, prompt, gold, group=group)
