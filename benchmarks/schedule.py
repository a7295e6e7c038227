"""Who runs when: the engines take turns, so that a machine that slows down slows all of them.

Does not print and does not compute ratios; `engine_report` does.

    sampling   ours on the first n documents | batched literal | ours again | literal on 2
    scoring    group by group: batched, batched sorted, ours, in changing order | literal on 2
    ours       on the other documents, the tools in turn, while there is time
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from benchmarks import ours
from benchmarks.batched_literal import LiteralEngine
from benchmarks.costs import Cost, measured
from benchmarks.workload import ToolWorkload, calls_of, calls_to_score, candidates
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.windows import Window
from toolformer.samples import SampledCall
from toolformer.scoring.losses import ScoredCall

# Documents that the unbatched engine gets, and of one turn of sampling.
GROUP_SIZE = 2
# Positions of one turn of scoring: turns are short beside a drift of the machine, and each holds
# enough calls for batches of our engine that are full.
_POSITIONS_PER_TURN = 40

LITERAL, BATCHED, SORTED, OURS = "literal", "batched", "batched_sorted", "ours"
# The unbatched engine is compared with ours on its own documents; ours ran on more besides.
OURS_FOR_LITERAL, OURS_ALL = "ours_for_literal", "ours_all"

Say = Callable[[str], None]


@dataclass
class ToolCosts:
    """Costs by engine, of both stages of one tool.

    Attributes:
        tool: what was measured.
        literal_share: which share of its samples and calls the unbatched engine did.
        calls: all candidates that our engine found.
    """

    tool: ToolWorkload
    literal_share: float
    sampling: dict[str, Cost] = field(default_factory=dict)
    scoring: dict[str, Cost] = field(default_factory=dict)
    calls: list[ScoredCall] = field(default_factory=list)


@dataclass
class Schedule:
    """The engines, and the documents of all of them.

    Attributes:
        model: with our engine.
        stock: the batched literal engine; alone in its batches it is the literal one.
        documents: all of them for ours, the first of them for the others.
        literal_every: the unbatched engine does every n-th sample and call.
        say: told what was done.
    """

    model: LanguageModel
    stock: LiteralEngine
    documents: Sequence[Window]
    literal_every: int
    say: Say

    def run(self, tool: ToolWorkload) -> ToolCosts:
        """Measure all engines on the first documents of one tool."""
        costs = ToolCosts(tool, literal_share=1 / self.literal_every)
        first = self.documents[: tool.baseline_documents]
        samples = self._sampling(costs, first)
        costs.calls = calls_to_score(tool, samples, self.model.tokenizer)
        self._scoring(costs, first)
        costs.sampling[OURS_ALL] = costs.sampling[OURS]
        costs.scoring[OURS_ALL] = costs.scoring[OURS]
        return costs

    def go_on(self, all_costs: Sequence[ToolCosts], *, deadline: float) -> None:
        """Ours on the other documents, the tools in turn, as many as there is time for.

        Args:
            all_costs: of `run`; what is measured is added to them.
            deadline: on `time.monotonic`; no group is begun that would end after it if it took as
                long as the tool's last one.
        """
        waiting = list(all_costs)
        longest = {costs.tool.title: _seconds_of_ours(costs) for costs in waiting}
        while waiting:
            costs = waiting.pop(0)
            tool = costs.tool
            done = costs.sampling[OURS_ALL].documents
            group = self.documents[done : done + tool.baseline_documents]
            began = time.monotonic()
            if not group:
                continue
            if began + longest[tool.title] > deadline:
                self.say(f"{tool.title}: no time left for more than {done} documents")
                continue
            samples, cost = self._sample_ours(tool, group)
            calls = calls_to_score(tool, samples, self.model.tokenizer)
            costs.sampling[OURS_ALL] += cost
            costs.scoring[OURS_ALL] += self._score_ours(tool, group, calls)
            costs.calls += calls
            longest[tool.title] = time.monotonic() - began
            waiting.append(costs)

    def _sampling(self, costs: ToolCosts, first: Sequence[Window]) -> list[SampledCall]:
        tool = costs.tool
        samples, before = self._sample_ours(tool, first)
        costs.sampling[BATCHED] = sum(
            (
                self._sample_stock(tool, first[start : start + GROUP_SIZE])
                for start in range(0, len(first), GROUP_SIZE)
            ),
            Cost(),
        )
        _, after = self._sample_ours(tool, first)
        costs.sampling[OURS] = replace(before, seconds=(before.seconds + after.seconds) / 2)
        costs.sampling[OURS_FOR_LITERAL] = costs.sampling[OURS]
        if len(first) > GROUP_SIZE:
            _, costs.sampling[OURS_FOR_LITERAL] = self._sample_ours(tool, first[:GROUP_SIZE])
        costs.sampling[LITERAL] = self._sample_literally(tool, first[:GROUP_SIZE])
        return samples

    def _scoring(self, costs: ToolCosts, first: Sequence[Window]) -> None:
        tool = costs.tool
        scoring = costs.scoring
        for number, group in enumerate(_scoring_groups(tool, first)):
            calls = calls_of(costs.calls, group)
            of_group = self._score_in_turn(tool, group, calls, first_turn=number)
            for name, cost in of_group.items():
                scoring[name] = scoring.get(name, Cost()) + cost
            if number == 0:
                scoring[OURS_FOR_LITERAL] = of_group[OURS]
                scoring[LITERAL] = self._score_literally(tool, group, calls)

    def _score_in_turn(
        self,
        tool: ToolWorkload,
        documents: Sequence[Window],
        calls: Sequence[ScoredCall],
        *,
        first_turn: int,
    ) -> dict[str, Cost]:
        turns: list[tuple[str, Callable[[], Cost]]] = [
            (BATCHED, lambda: self._score_stock(tool, documents, calls, is_sorted=False)),
            (SORTED, lambda: self._score_stock(tool, documents, calls, is_sorted=True)),
            (OURS, lambda: self._score_ours(tool, documents, calls)),
        ]
        shift = first_turn % len(turns)
        return {name: turn() for name, turn in turns[shift:] + turns[:shift]}

    def _sample_ours(
        self, tool: ToolWorkload, documents: Sequence[Window]
    ) -> tuple[list[SampledCall], Cost]:
        samples, cost = measured(self.model, lambda: ours.sample(self.model, tool, documents))
        return samples, self._told(f"{tool.title}: ours sampled", cost, documents, samples)

    def _sample_stock(self, tool: ToolWorkload, documents: Sequence[Window]) -> Cost:
        stock = self.stock
        samples, cost = measured(stock, lambda: stock.sample(tool, stock.contexts(tool, documents)))
        return self._told(f"{tool.title}: batched literal sampled", cost, documents, samples)

    def _sample_literally(self, tool: ToolWorkload, documents: Sequence[Window]) -> Cost:
        stock, every = self.stock, self.literal_every
        stock.batch_size, batch_size = 1, stock.batch_size
        contexts, of_positions = measured(stock, lambda: stock.contexts(tool, documents))
        samples, of_samples = measured(stock, lambda: stock.sample(tool, contexts, every=every))
        stock.batch_size = batch_size
        of_samples = replace(of_samples, candidates=len(candidates(samples)))
        cost = of_positions + of_samples.scaled(every)
        self.say(
            f"{tool.title}: literal sampled, every {every}th sample: {of_samples.seconds:.1f} s"
        )
        return replace(cost, documents=len(documents))

    def _score_ours(
        self, tool: ToolWorkload, documents: Sequence[Window], calls: Sequence[ScoredCall]
    ) -> Cost:
        losses, cost = measured(self.model, lambda: ours.score(self.model, tool, documents, calls))
        needed = ours.needed_work(self.model, documents, calls, losses, form=tool.form)
        # An engine that feeds less than one row for each distinct call needs no more than it feeds.
        tokens = min(needed.tokens, cost.tokens_fed)
        cost = replace(cost, needed_tokens=tokens, logit_rows=needed.logit_rows)
        return self._told(f"{tool.title}: ours scored", cost, documents, calls)

    def _score_stock(
        self,
        tool: ToolWorkload,
        documents: Sequence[Window],
        calls: Sequence[ScoredCall],
        *,
        is_sorted: bool,
    ) -> Cost:
        stock = self.stock
        useful, rows = stock.useful_tokens, stock.logit_rows
        _, cost = measured(
            stock, lambda: stock.score(documents, calls, is_sorted=is_sorted, form=tool.form)
        )
        cost = replace(
            cost,
            needed_tokens=stock.useful_tokens - useful,
            logit_rows=stock.logit_rows - rows,
        )
        kind = ", sorted" if is_sorted else ""
        name = "literal" if stock.batch_size == 1 else "batched literal"
        return self._told(f"{tool.title}: {name} scored{kind}", cost, documents, calls)

    def _score_literally(
        self, tool: ToolWorkload, documents: Sequence[Window], calls: Sequence[ScoredCall]
    ) -> Cost:
        stock, every = self.stock, self.literal_every
        some = list(calls[::every])
        stock.batch_size, batch_size = 1, stock.batch_size
        cost = self._score_stock(tool, documents, some, is_sorted=False)
        stock.batch_size = batch_size
        return cost.scaled(len(calls) / len(some)) if some else cost

    def _told(
        self,
        what: str,
        cost: Cost,
        documents: Sequence[Window],
        found: Sequence[SampledCall] | Sequence[ScoredCall],
    ) -> Cost:
        count = sum(getattr(each, "status", "parsed") == "parsed" for each in found)
        self.say(
            f"{what}, {len(documents)} documents: {cost.seconds:.1f} s, {cost.tokens_fed} tokens, "
            f"{count} candidates"
        )
        return replace(cost, documents=len(documents), candidates=count)


def _scoring_groups(tool: ToolWorkload, first: Sequence[Window]) -> Iterator[Sequence[Window]]:
    """Documents of each turn of scoring; those of the unbatched engine are the first turn."""
    yield first[:GROUP_SIZE]
    size = max(1, _POSITIONS_PER_TURN // tool.positions_per_text)
    for start in range(GROUP_SIZE, len(first), size):
        yield first[start : start + size]


def _seconds_of_ours(costs: ToolCosts) -> float:
    return costs.sampling[OURS].seconds + costs.scoring[OURS].seconds
