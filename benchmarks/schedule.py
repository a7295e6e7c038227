"""Runs the engines in turns, so that a machine that slows down affects all of them equally.

sampling   ours | batched literal | ours again
scoring    group by group: batched, batched sorted, ours, in changing order
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from benchmarks import ours
from benchmarks.batched_literal import LiteralEngine
from benchmarks.costs import Cost, measured
from benchmarks.workload import ToolWorkload, calls_of, calls_to_score, candidates
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.windows import Window
from toolformer.samples import SampledCall
from toolformer.scoring.call_scorer import ScoredCall

# Documents that the literal engine samples together.
_GROUP_SIZE = 2
# Positions per turn of scoring. Turns are short compared with changes in the machine's speed, but
# long enough to fill the batches of our engine.
_POSITIONS_PER_TURN = 40

BATCHED, SORTED, OURS = "batched", "batched_sorted", "ours"


@dataclass
class ToolCosts:
    tool: ToolWorkload
    sampling: dict[str, Cost] = field(default_factory=dict)
    scoring: dict[str, Cost] = field(default_factory=dict)


@dataclass
class Schedule:
    """The engines and the documents, of which each tool uses the first ones."""

    model: LanguageModel
    stock: LiteralEngine
    documents: Sequence[Window]
    say: Callable[[str], None]

    def run(self, tool: ToolWorkload) -> ToolCosts:
        costs = ToolCosts(tool)
        documents = self.documents[: tool.documents]
        samples = self._sampling(costs, documents)
        calls = calls_to_score(tool, samples, self.model.tokenizer)
        size = max(1, _POSITIONS_PER_TURN // tool.positions_per_text)
        for turn, group in enumerate(_groups(documents, size)):
            of_group = self._score_in_turn(tool, group, calls_of(calls, group), turn)
            for name, cost in of_group.items():
                costs.scoring[name] = costs.scoring.get(name, Cost()) + cost
        return costs

    def _sampling(self, costs: ToolCosts, documents: Sequence[Window]) -> list[SampledCall]:
        tool = costs.tool
        samples, before = self._sample_ours(tool, documents)
        costs.sampling[BATCHED] = sum(
            (self._sample_stock(tool, group) for group in _groups(documents, _GROUP_SIZE)), Cost()
        )
        _, after = self._sample_ours(tool, documents)
        costs.sampling[OURS] = replace(before, seconds=(before.seconds + after.seconds) / 2)
        return samples

    def _score_in_turn(
        self,
        tool: ToolWorkload,
        documents: Sequence[Window],
        calls: Sequence[ScoredCall],
        turn: int,
    ) -> dict[str, Cost]:
        model, stock, scoring = self.model, self.stock, tool.scoring
        ways = [
            (BATCHED, stock, lambda: stock.score(documents, calls, scoring=scoring)),
            (SORTED, stock, lambda: stock.score(documents, calls, scoring=scoring, is_sorted=True)),
            (OURS, model, lambda: ours.score(model, tool, documents, calls)),
        ]
        costs = {}
        first = turn % len(ways)
        for name, engine, work in ways[first:] + ways[:first]:
            _, cost = measured(engine, work)
            costs[name] = self._logged(f"{tool.title}: {name} scored", cost, documents, len(calls))
        return costs

    def _sample_ours(
        self, tool: ToolWorkload, documents: Sequence[Window]
    ) -> tuple[list[SampledCall], Cost]:
        samples, cost = measured(self.model, lambda: ours.sample(self.model, tool, documents))
        found = len(candidates(samples))
        return samples, self._logged(f"{tool.title}: ours sampled", cost, documents, found)

    def _sample_stock(self, tool: ToolWorkload, documents: Sequence[Window]) -> Cost:
        stock = self.stock
        samples, cost = measured(stock, lambda: stock.sample(tool, stock.contexts(tool, documents)))
        found = len(candidates(samples))
        return self._logged(f"{tool.title}: batched sampled", cost, documents, found)

    def _logged(self, what: str, cost: Cost, documents: Sequence[Window], found: int) -> Cost:
        self.say(
            f"{what}, {len(documents)} documents: {cost.seconds:.1f} s, {cost.tokens_fed} tokens, "
            f"{found} candidates"
        )
        return replace(cost, documents=len(documents), candidates=found)


def _groups(documents: Sequence[Window], size: int) -> list[Sequence[Window]]:
    return [documents[start : start + size] for start in range(0, len(documents), size)]
