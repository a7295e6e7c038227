"""MLQA: a paragraph in English, a question in another language, an answer in English (§4.2.4).

XQuAD has questions of the same kind in the same languages. It is not in the paper, so its name
stands in the results.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from toolformer.evaluation.benchmarks.benchmark import BenchmarkFileError, StopRule
from toolformer.evaluation.benchmarks.prompts import PARAGRAPH_PROMPT
from toolformer.evaluation.benchmarks.question_benchmark import QuestionBenchmark
from toolformer.evaluation.benchmarks.question_records import Record, read_records
from toolformer.evaluation.benchmarks.rows import Asked, InvalidRowError, Row, excerpt
from toolformer.evaluation.scoring import score_mlqa

Language: TypeAlias = Literal["es", "de", "hi", "vi", "zh", "ar"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


class Mlqa(QuestionBenchmark):
    """The questions in one language.

    Args:
        path: `test-context-en-question-es.json` (with the language), or the folder that holds it.
    """

    prompt_template = PARAGRAPH_PROMPT
    rule = staticmethod(score_mlqa)
    stop_rule = StopRule(max_new_tokens=32)
    _set_name = "mlqa"

    def __init__(self, path: Path, language: Language) -> None:
        super().__init__(path)
        self.language = language
        self.name = f"{self._set_name}-{language}"
        file = f"test-context-en-question-{language}.json"
        self.folder_patterns = (file, f"{file}.gz", f"test/{file}")
        self.formats = (("context", self._question),)

    def _question(self, row: Row) -> Asked:
        # The title of the paragraph's article in some copies; it is not asked with.
        row.optional_text("article")
        return Asked(
            row.text("question"),
            row.texts("answers"),
            context=row.text("context"),
            group=self.language,
        )


class Xquad(Mlqa):
    """XQuAD, asked as MLQA is: its own files have question and paragraph in one language.

    Args:
        path: The folder with `xquad.en.json` and `xquad.es.json` (with the language), whose
            questions have the same ids; or JSON lines with paragraphs and answers in English.
    """

    _set_name = "xquad"

    def files(self) -> Sequence[Path]:
        """The file, or both files of a folder; see `Benchmark`."""
        if self._path.is_dir():
            return [self._path / "xquad.en.json", self._path / f"xquad.{self.language}.json"]
        if self._path.name.startswith("xquad."):
            raise BenchmarkFileError(
                f"The file {str(self._path)!r} has questions and paragraphs in one language; "
                f"expected the folder with 'xquad.en.json' and 'xquad.{self.language}.json'. "
                "Name the folder."
            )
        return super().files()

    def records(self) -> Iterator[tuple[Path, int, Record]]:
        """The questions of the one file, with paragraphs and answers of the other."""
        if not self._path.is_dir():
            yield from super().records()
            return
        english_file, file = self.files()
        english = {
            record["id"]: record
            for _, record in read_records(english_file)
            if isinstance(record, dict) and isinstance(record.get("id"), str)
        }
        for number, record in read_records(file):
            if isinstance(record, dict):
                original = english.get(record.get("id"))
                if original is None:
                    record = InvalidRowError(
                        f"column 'id' is {excerpt(record.get('id'))}; expected one of "
                        f"{english_file.name}"
                    )
                else:
                    record = {**original, "question": record.get("question")}
            yield file, number, record
