"""A tool that the model was not trained on is shown in the prompt: does it call it?

The paper has no such benchmark.
"""

from collections.abc import Iterator, Sequence

from toolformer.evaluation.benchmarks.benchmark import Benchmark, BenchmarkItem, StopRule
from toolformer.evaluation.scoring import score_math
from toolformer.files.digests import number_digest
from tools.base import Tool
from tools.protocol import Document, ToolCall
from tools.syntax import format_call

_ITEMS = 200
_STATEMENT = "The locker of {person} has the number"
_FIRST_NAMES = """
Ada Adam Agnes Alan Albert Alice Amy Andrew Anna Arthur Barbara Ben Bruno Carl Carol Cecilia Charles
Chloe Claire Colin Daniel David Diana Edgar Edith Edward Eleanor Ella Emily Emma Eric Esther Eva
Felix Fiona Frances Frank Frederick George Gloria Grace Hannah Harold Harry Helen Henry Hugo Ida
Irene Iris Isaac Jack Jacob Jane Joan John Joseph Judith Julia Karen Kate Laura Leo Lily Linda Louis
Lucy Luke Marcus Margaret Maria Mark Martha Martin Max Michael Miriam Molly Nina Nora Oliver Oscar
Paul Peter Philip Rachel Ralph Robert Rosa Ruth Samuel Sarah Simon Sophie Stella Thomas Vera Victor
Walter William
"""
_FAMILY_NAMES = """
Baker Brooks Carter Clark Cole Evans Fisher Gibson Harris Hill Hunter King Lane Mason Moore Price
Reed Shaw Stone Wood
"""


class UnseenTool(Benchmark):
    """The numbers of people's lockers, which nothing but a call tells.

    The prompt says what the tool does, shows two calls with their results, and ends where a third
    belongs. Without a call an answer is right by a chance of one in 9,000; with one it is the
    result, copied. Two shares say more than the score, and can be read in `evaluation_results`: of
    items with a call (`called_tool` is the tool), and with a right one (`result` is the number in
    `gold`; `arguments` says whom the call asked for).

    Args:
        tool: Gives a whole number for a person's name. It must be one that no model was trained on.
        seed: Selects the names.
    """

    name = "unseen-tool"
    # The prompt ends where the number belongs, so few words come before it.
    stop_rule = StopRule(max_new_tokens=16)

    def __init__(self, tool: Tool, *, seed: int) -> None:
        self.further_tools = (tool,)
        self.version = f"1 seed={seed} {tool.name}={tool.version}"
        self._tool = tool
        self._seed = seed

    def items(self) -> Iterator[BenchmarkItem]:
        """Generates the 200 questions; see `Benchmark`."""
        persons = iter(self._persons())
        for index in range(_ITEMS):
            # Demonstrations of its own, so that the score does not hang on one lucky pair.
            shown, also_shown, person = (next(persons) for _ in range(3))
            yield BenchmarkItem(
                item_id=f"{self.name}-{index:04d}",
                prompt=self._prompt([shown, also_shown], person),
                gold=(self._number_of(person),),
                bare_texts=(_STATEMENT.format(person=person),),
            )

    def score(self, item: BenchmarkItem, output: str) -> bool:
        """The first number is the person's, by the rule for mathematics."""
        return score_math(output, float(item.gold[0]))

    def _persons(self) -> list[str]:
        """Names in an order of the seed; no two share a number, or a copied one could be right."""
        everybody = [
            f"{first} {family}"
            for first in _FIRST_NAMES.split()
            for family in _FAMILY_NAMES.split()
        ]
        everybody.sort(key=lambda person: number_digest(self._seed, person))
        return list({self._number_of(person): person for person in everybody}.values())

    def _number_of(self, person: str) -> str:
        return self._tool.call(person, Document(self.name, ""))

    def _prompt(self, shown: Sequence[str], question: str) -> str:
        tool = self._tool.name
        lines = [
            f"The tool {tool} tells the number of a person's locker. A call looks like this:"
            f"{format_call(ToolCall(tool, 'name'), 'number')}."
        ]
        for person in shown:
            number = self._number_of(person)
            call = format_call(ToolCall(tool, person), number)
            lines.append(f"{_STATEMENT.format(person=person)}{call} {number}.")
        return "\n".join([*lines, _STATEMENT.format(person=question)])
