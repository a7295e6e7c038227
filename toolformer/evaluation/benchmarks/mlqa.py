"""MLQA: a paragraph in English, a question in another language, an answer in English (§4.2.4)."""

from pathlib import Path
from typing import Literal, TypeAlias, get_args

from toolformer.evaluation.benchmarks.benchmark import StopRule
from toolformer.evaluation.benchmarks.prompts import PARAGRAPH_PROMPT
from toolformer.evaluation.benchmarks.question_benchmark import QuestionBenchmark
from toolformer.evaluation.benchmarks.rows import Asked, Row
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

    def __init__(self, path: Path, language: Language) -> None:
        super().__init__(path)
        self.language = language
        self.name = f"mlqa-{language}"
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
