"""What benchmarks that come as files have in common: how rows become items, or do not."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

from toolformer.evaluation.benchmarks.benchmark import (
    Benchmark,
    BenchmarkEntry,
    BenchmarkFileError,
    BenchmarkItem,
    CountedBy,
    LeftOutItem,
)
from toolformer.evaluation.benchmarks.question_records import Record, read_records
from toolformer.evaluation.benchmarks.rows import Asked, InvalidRowError, Row, folded_name
from toolformer.sources.columns import MISSING, column_names, value_at

# A file is of an unknown format when none of its first rows is of a known one.
_CHECKED_ROWS = 100
# What these columns hold belongs to the question: a format that does not read one that is there
# would ask something else.
_PARTS_OF_QUESTIONS = (
    *("body", "question_body", "story", "stories", "background", "scenario", "premise", "premises"),
    *("context", "contexts", "passage", "passages", "paragraph", "paragraphs", "text", "problem"),
    *("article", "articles", "document", "documents", "support", "supports", "facts"),
    *("numbers", "choices", "options", "table", "tables"),
)


class QuestionBenchmark(Benchmark):
    """A benchmark that is read from a file, or from the files of a folder.

    Attributes:
        prompt_template: The prompt, in which `{question}` and `{context}` are filled in.
        rule: Tells whether an output is right, given the output and the accepted answers.
        rounded_rule: The same of numbers, for rounded answers.
        formats: The known formats: a column by which a row's format is told, and what reads it.
        has_exact_names: Columns are named by the user, who says what is asked; see `Row`.
        placeholder: What stands in questions that cannot be asked, in place of a number.
        id_columns: Where a row may have an id of its own.
        folder_patterns: Which files of a folder belong to it; none where it is one file.
    """

    prompt_template: str
    rule: Callable[[str, Sequence[str]], bool]
    rounded_rule: Callable[[str, Sequence[str]], bool] | None = None
    formats: tuple[tuple[str, Callable[[Row], Asked]], ...]
    placeholder: re.Pattern[str] | None = None
    id_columns: tuple[str, ...] = ("id",)
    folder_patterns: tuple[str, ...] = ()
    has_exact_names: bool = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def prompt(self, question: Asked) -> str:
        """What the model continues."""
        return self.prompt_template.format(question=question.text, context=question.context)

    def score(self, item: BenchmarkItem, output: str) -> bool:
        """Tells whether an output is right; see `Benchmark`."""
        return self.rule(output, item.gold) or self.counted_by(item, output) == "rounded_number"

    def counted_by(self, item: BenchmarkItem, output: str) -> CountedBy:
        """The rule that decides; see `Benchmark`."""
        if self.rounded_rule is None:
            return "words"
        is_equal = self.rule(output, item.gold)
        is_rounded = not is_equal and self.rounded_rule(output, item.gold)
        return "rounded_number" if is_rounded else "number"

    def files(self) -> Sequence[Path]:
        """The files that are read; see `Benchmark`."""
        if not self._path.is_dir():
            if not self._path.exists():
                raise BenchmarkFileError(
                    f"There is nothing at {str(self._path)!r}, where the questions of "
                    f"{self.name!r} are expected. Correct the path, or fetch them."
                )
            return [self._path]
        paths = (self._path.glob(pattern) for pattern in self.folder_patterns)
        files = sorted(file for file in chain(*paths) if not file.name.startswith("."))
        if not files:
            expected = _names(self.folder_patterns) if self.folder_patterns else "a file, no folder"
            raise BenchmarkFileError(
                f"The folder {str(self._path)!r} holds no file of {self.name!r}; expected "
                f"{expected}. Name the file, or the folder that holds it."
            )
        return files

    def items(self) -> Iterator[BenchmarkEntry]:
        """Reads the questions one by one; see `Benchmark`."""
        used: dict[str, int] = {}
        for file, number, record in self._checked_records():
            stem = file.name.partition(".json")[0]
            entry = self._entry(record, f"{file.name}, row {number}", f"{stem}-{number}")
            if isinstance(entry, BenchmarkItem):
                entry = replace(entry, item_id=_unused(entry.item_id, used))
            yield entry

    def records(self) -> Iterator[tuple[Path, int, Record]]:
        """The records of its files, with file and number."""
        for file in self.files():
            for number, record in read_records(file):
                yield file, number, record

    def _checked_records(self) -> Iterator[tuple[Path, int, Record]]:
        records = self.records()
        first = list(islice(records, _CHECKED_ROWS))
        rows = [record for _, _, record in first if isinstance(record, dict)]
        if not any(self._has_column(row, column) for row in rows for column, _ in self.formats):
            columns = sorted({column for row in rows for column in column_names(row)})
            wrong = "".join(f": {row}" for *_, row in first[:1] if not isinstance(row, dict))
            message = f"the columns {', '.join(columns)[:200]}" if columns else f"none{wrong}"
            raise BenchmarkFileError(
                f"What is at {str(self._path)!r} has no known format of {self.name!r}: its first "
                f"{len(first)} rows have {message}; expected a column {self._known_columns()}. "
                "Correct it, or name another file. evaluation.questions says how to read a file "
                "of your own."
            )
        yield from chain(first, records)

    def _has_column(self, row: dict[str, object], column: str) -> bool:
        if self.has_exact_names:
            return value_at(row, column) is not MISSING
        return column in map(folded_name, row)

    def _known_columns(self) -> str:
        return _names([column for column, _ in self.formats])

    def _entry(self, record: Record, row_name: str, default_id: str) -> BenchmarkEntry:
        if isinstance(record, InvalidRowError):
            return LeftOutItem(row_name, str(record))
        try:
            row = Row(record, default_id, has_exact_names=self.has_exact_names)
            read = next((read for column, read in self.formats if column in row), None)
            if read is None:
                return LeftOutItem(row_name, f"expected a value in column {self._known_columns()}")
            question = read(row)
        except InvalidRowError as error:
            return LeftOutItem(row_name, str(error))
        unread = [] if self.has_exact_names else row.unread(_PARTS_OF_QUESTIONS)
        if unread:
            columns = " and ".join(map(repr, unread))
            raise BenchmarkFileError(
                f"{row_name} of {str(self._path)!r} has {columns}, which this form of "
                f"{self.name!r} does not have, so that the question would be asked without it. "
                "Name the benchmark's own file, take the column out if it does not belong to the "
                "question, or describe this one as a question file of your own."
            )
        if self.placeholder and (placeholder := self.placeholder.search(question.text)):
            raise BenchmarkFileError(
                f"{row_name} of {str(self._path)!r} has {placeholder[0]!r} where a number belongs; "
                "expected questions with their numbers. Name the benchmark's own file, put the "
                "numbers in, or describe this one as a question file of your own."
            )
        return BenchmarkItem(
            item_id=row.identity(*self.id_columns),
            prompt=self.prompt(question),
            gold=question.answers,
            current_date=question.date,
            group=question.group,
            bare_texts=tuple(filter(None, (question.text, question.context))),
        )


def _names(names: Sequence[str]) -> str:
    return " or ".join(map(repr, names))


def _unused(item_id: str, used: dict[str, int]) -> str:
    """The id; where another row has it already, with a number behind it."""
    unused = item_id
    while unused in used:
        used[item_id] += 1
        unused = f"{item_id}#{used[item_id]}"
    used[unused] = 1
    return unused
