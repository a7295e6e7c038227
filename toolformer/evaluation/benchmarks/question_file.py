"""Reads questions with accepted answers from files whose columns the settings describe."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

from toolformer.base.digests import hex_digest
from toolformer.evaluation.benchmarks.benchmark import (
    Benchmark,
    BenchmarkEntry,
    BenchmarkFileError,
    BenchmarkItem,
    CountedBy,
    SkippedItem,
    StopRule,
)
from toolformer.evaluation.benchmarks.question_records import Record, read_records
from toolformer.evaluation.benchmarks.question_rows import (
    InvalidRowError,
    Row,
    excerpt,
    names_choice,
)
from toolformer.evaluation.scoring import (
    answered_number,
    contains_answer,
    is_number_right,
    is_number_rounded,
    last_number,
    normalised_words,
)
from toolformer.settings.evaluation_sections import QuestionFileSettings, ShippedQuestions
from toolformer.sources.columns import column_names

# A file has an unknown format if none of its first rows has a question.
_CHECKED_ROWS = 100
# Columns that belong to the question if a file has them. If the description of a known benchmark
# does not use such a column, the question may be incomplete.
_QUESTION_COLUMNS = (
    *("body", "question_body", "story", "stories", "background", "scenario", "premise", "premises"),
    *("context", "contexts", "passage", "passages", "paragraph", "paragraphs", "text", "problem"),
    *("article", "articles", "document", "documents", "support", "supports", "facts"),
    *("numbers", "choices", "options", "table", "tables"),
)
# Some copies of word problems have the numbers in a separate column.
_PLACEHOLDER = re.compile(r"\bN_[0-9]+|\bnumber[0-9]+")
_NUMBER_OF = {"number": answered_number, "last-number": last_number}
_ADVICE = "or describe the file's columns in evaluation.questions"
MASK_NOT_LAST = "mask_not_last"


class QuestionFile(Benchmark):
    """Questions with their accepted answers, from a file or from the `files` of a folder."""

    def __init__(self, name: str, path: Path, described: QuestionFileSettings) -> None:
        self.name = name
        self.blocked_tools = described.blocked_tools
        self.stop_rule = StopRule(described.max_new_tokens, described.stop_texts)
        self.version = _version_of(described)
        self._path = path
        self._described = described
        self._shipped = described if isinstance(described, ShippedQuestions) else None
        self._questions = _as_tuple(described.question)
        self._remarks = Counter[str]()
        self._number_of = _NUMBER_OF.get(described.scoring)

    def score(self, item: BenchmarkItem, output: str) -> bool:
        if self._number_of is None:
            return contains_answer(output, item.gold, first_words=self._described.first_words)
        number = self._number_of(output)
        return is_number_right(number, item.gold) or is_number_rounded(number, item.gold)

    def counted_by(self, item: BenchmarkItem, output: str) -> CountedBy:
        if self._number_of is None:
            return "words"
        is_right = is_number_right(self._number_of(output), item.gold)
        return "rounded_number" if self.score(item, output) and not is_right else "number"

    def remarks(self) -> Mapping[str, int]:
        return self._remarks

    def files(self) -> Sequence[Path]:
        if not self._path.is_dir():
            if not self._path.exists():
                raise BenchmarkFileError(
                    f"{str(self._path)!r} does not exist. Expected the questions of "
                    f"{self.name!r} there. Correct the path, or download the questions."
                )
            return [self._path]
        patterns = self._shipped.files if self._shipped else ()
        paths = chain.from_iterable(self._path.glob(pattern) for pattern in patterns)
        files = sorted(file for file in paths if not file.name.startswith("."))
        if not files:
            raise BenchmarkFileError(
                f"The folder {str(self._path)!r} contains no file of {self.name!r}. Expected "
                f"{_either(patterns) or 'the path of a file'}. Set the path to the file or its "
                "folder."
            )
        return files

    def items(self) -> Iterator[BenchmarkEntry]:
        self._remarks.clear()
        used: dict[str, int] = {}
        for file, number, record in self._checked_records():
            location = f"{file.name}, row {number}"
            try:
                if isinstance(record, InvalidRowError):
                    raise record
                item = self._item(Row(record, is_folded=self._shipped is not None), location)
            except InvalidRowError as error:
                yield SkippedItem(location, str(error))
                continue
            item_id = item.item_id or f"{file.name.partition('.json')[0]}-{number}"
            yield replace(item, item_id=_unique_id(item_id, used))

    def _checked_records(self) -> Iterator[tuple[Path, int, Record]]:
        records = (
            (file, number, record) for file in self.files() for number, record in read_records(file)
        )
        first = list(islice(records, _CHECKED_ROWS))
        rows = [record for _, _, record in first if not isinstance(record, InvalidRowError)]
        if not any(self._has_question(row) for row in rows):
            columns = sorted({column for row in rows for column in column_names(row)})
            error = f" (row {first[0][1]}: {first[0][2]})" if first and not columns else ""
            actual = f"the columns {', '.join(columns)[:200]}" if columns else f"no columns{error}"
            raise BenchmarkFileError(
                f"{str(self._path)!r} does not have the format of {self.name!r}: its first "
                f"{len(first)} rows have {actual}. Expected a column {_either(self._questions)}. "
                "Correct the file, use another one, or describe its columns in "
                "evaluation.questions."
            )
        yield from chain(first, records)

    def _has_question(self, record: Mapping[str, object]) -> bool:
        try:
            row = Row(record, is_folded=self._shipped is not None)
        except InvalidRowError:
            return True
        return any(all(map(row.has_column, each.split(" + "))) for each in self._questions)

    def _item(self, row: Row, location: str) -> BenchmarkItem:
        described, shipped = self._described, self._shipped
        question = self._question(row)
        answers = _as_tuple(described.answers)
        gold = row.numbers(*answers) if self._number_of else row.texts(*answers)
        if described.has_one_answer and len(gold) > 1:
            raise InvalidRowError(f"it has {len(gold)} answers; expected one")
        context = row.text(described.context) if described.context else ""
        date = described.date if shipped or (described.date or "") in row else None
        if shipped:
            self._check_complete(row, question, location)
        else:
            self._check_choices(row, gold)
        if row.has_marked_answers:
            self._remarks["are the text after the last #### of a solution"] += 1
        asked = question
        if described.has_question_mark and not question.endswith("?"):
            asked += "?"
        return BenchmarkItem(
            item_id=row.identity(_as_tuple(described.id)) or "",
            prompt=described.prompt.format(question=asked, context=context),
            gold=gold,
            current_date=row.year_or_date(date) if date else None,
            group=(shipped and shipped.group_of_all) or row.group(_as_tuple(described.group)),
            bare_texts=tuple(filter(None, (question, context))),
        )

    def _question(self, row: Row) -> str:
        column = next((c for c in self._questions if all(p in row for p in c.split(" + "))), None)
        if column is None:
            raise InvalidRowError(
                f"it has no question; expected a value in column {_either(self._questions)}"
            )
        parts = column.split(" + ")
        if self._described.gap is None:
            return " ".join(map(row.text, parts))
        # Each object of a list has a statement of its own, and the first one that fits is asked.
        if row.is_within_list(column):
            statements = row.texts(column)
        else:
            statements = (" ".join(text for part in parts for text in row.texts(part)),)
        return self._text_before_gap(statements)

    def _text_before_gap(self, statements: Sequence[str]) -> str:
        """Return the part of a statement before its gap, for the first statement that fits.

        The paper asks only statements whose mask is the last token. Punctuation after the mask is
        ignored here, because otherwise hardly any statement would remain.
        """
        gap = str(self._described.gap)
        for statement in statements:
            shown = f"the statement {excerpt(statement)}"
            before, *after = statement.split(gap)
            if not after:
                raise InvalidRowError(f"{shown} has no gap; expected {gap}")
            is_last = len(after) == 1 and not normalised_words(after[0])
            if not (is_last or self._described.has_text_after_gap):
                continue
            if not normalised_words(before):
                raise InvalidRowError(f"{shown} has no words before {gap}")
            return before.strip()
        raise InvalidRowError(MASK_NOT_LAST)

    def _check_complete(self, row: Row, question: str, location: str) -> None:
        """Raise if a row of a known benchmark has question columns that the prompt omits."""
        unread = [] if self._described.context else row.unread(_QUESTION_COLUMNS)
        if unread:
            columns = " and ".join(map(repr, unread))
            raise BenchmarkFileError(
                f"{location} of {str(self._path)!r} has {columns}, which prompts of {self.name!r} "
                "do not contain, so the question may be incomplete. Use the benchmark's original "
                f"file, remove the column if it does not belong to the question, {_ADVICE}."
            )
        if self._number_of and (placeholder := _PLACEHOLDER.search(question)):
            raise BenchmarkFileError(
                f"{location} of {str(self._path)!r} has {placeholder[0]!r} where a number belongs. "
                "Expected questions that contain their numbers. Use the benchmark's original file, "
                f"insert the numbers, {_ADVICE}."
            )

    def _check_choices(self, row: Row, gold: Sequence[str]) -> None:
        """Raise if an answer only names a choice; record a remark if there are choices."""
        choices = row.choices()
        texts = [text for of_column in choices.values() for text in of_column]
        columns = " and ".join(map(repr, choices))
        if all(names_choice(answer, texts) for answer in gold):
            raise InvalidRowError(
                f"column {self._described.answers!r} is {excerpt(gold[0])}, which names one of the "
                f"choices in {columns}; expected the answer itself, since prompts have no choices"
            )
        if choices:
            self._remarks[f"belong to choices in {columns}, which the prompts do not show"] += 1


def _version_of(described: QuestionFileSettings) -> str:
    if isinstance(described, ShippedQuestions):
        return described.version
    version_parts = [
        *(described.question, described.answers, described.context, described.date),
        *(described.prompt, described.scoring, described.first_words),
    ]
    optional = {"id", "group", "gap", "has_text_after_gap", "has_question_mark", "has_one_answer"}
    if other_settings := described.model_dump(include=optional, exclude_defaults=True):
        version_parts.append(other_settings)
    return f"4-{hex_digest(*version_parts, size=8)}"


def _as_tuple(columns: str | tuple[str, ...]) -> tuple[str, ...]:
    return (columns,) if isinstance(columns, str) else columns


def _either(names: Sequence[str]) -> str:
    return " or ".join(map(repr, names))


def _unique_id(item_id: str, used: dict[str, int]) -> str:
    unused = item_id
    while unused in used:
        used[item_id] += 1
        unused = f"{item_id}#{used[item_id]}"
    used[unused] = 1
    return unused
