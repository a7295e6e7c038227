"""DATESET as a benchmark: its questions, prompt and scoring rule (paper §4.2.5).

Does not generate the questions itself (see `toolformer.evaluation.dateset`).
"""

from collections.abc import Iterator

from toolformer.evaluation.benchmarks.benchmark import Benchmark, BenchmarkItem, StopRule
from toolformer.evaluation.dateset import generate_dateset, sample_dateset
from toolformer.evaluation.prompts import question_prompt
from toolformer.evaluation.scoring import score_lama


class Dateset(Benchmark):
    """Questions about dates, each with a presumed today.

    Args:
        seed: Selects dates and questions.
        count: How many questions, with every kind among them; None for all 9,400.
        max_new_tokens: The most tokens of an answer.
    """

    name = "dateset"

    def __init__(self, *, seed: int, count: int | None = None, max_new_tokens: int = 40) -> None:
        self.stop_rule = StopRule(max_new_tokens)
        self.version = f"1 seed={seed} count={count}"
        self._seed = seed
        self._count = count

    def items(self) -> Iterator[BenchmarkItem]:
        """Generates the questions; see `Benchmark`.

        Raises:
            ValueError: More questions are wanted than there are.
        """
        questions = generate_dateset(seed=self._seed)
        if self._count is not None:
            questions = sample_dateset(questions, self._count, self._seed)
        for question in questions:
            yield BenchmarkItem(
                item_id=question.item_id,
                prompt=question_prompt(question.question),
                gold=question.gold,
                current_date=question.current_date,
                group=question.kind,
                bare_texts=(question.question,),
            )

    def score(self, item: BenchmarkItem, output: str) -> bool:
        """An accepted answer is among the first five words."""
        return score_lama(output, item.gold)
