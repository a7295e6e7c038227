"""Measures a model on a benchmark in parts, so that a killed run keeps the finished parts.

Each part and mode is a partition of its own.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial

from assets.evaluation.answers import TABLE, Answers, EvaluationPartition
from assets.evaluation.questions import Questions
from assets.evaluation.text_losses import Losses
from assets.outputs import DONE, UP_TO_DATE
from assets.run import Run
from assets.stale_scores import clear_scores, clear_stale_scores
from assets.training.training_inputs import training_and_held_out_shards
from toolformer.base.digests import number_digest
from toolformer.decoding.calibration import min_call_probability
from toolformer.evaluation.benchmarks.benchmark import Benchmark, BenchmarkItem
from toolformer.evaluation.modes import Mode, enabled
from toolformer.home.progress import ProgressCallback
from toolformer.home.wiring.benchmarks import configured_benchmark, items_of, remarks_on
from toolformer.home.wiring.models import EvaluatedModel
from toolformer.home.wiring.toolbox import Toolbox, open_toolbox
from toolformer.settings.sections import Settings
from warehouse.schema import ALL

# A part of this size takes minutes on two cores, so a kill loses little, but it fills a batch.
_ITEMS_PER_PART = 250
# Number of unusable rows of a benchmark that are logged.
_MAX_NAMED = 5


@dataclass(slots=True)
class Evaluator:
    """Evaluation of models in one run, with the counts that its report shows."""

    run: Run
    tools: Toolbox
    held_out: list[str]
    states: dict[str, Counter[str]] = field(default_factory=dict)
    items_asked: dict[str, str] = field(default_factory=dict)
    rows_left_out: dict[str, int] = field(default_factory=dict)

    @classmethod
    def open(cls, run: Run) -> "Evaluator":
        """Open the tools before anything expensive is loaded."""
        named = run.named_tools or None
        tools = open_toolbox(run, named=named, while_decoding=True)
        return cls(run, tools, training_and_held_out_shards(run.home)[1])

    def measure(self, name: str, model: EvaluatedModel, modes: Sequence[Mode]) -> None:
        """Make the stale partitions of a model on a benchmark; texts ignore `modes`."""
        evaluation = self.run.settings.evaluation
        if evaluation.is_text(name):
            self._read(name, model)
        else:
            # Only texts need the copy of the base model; here it would only occupy memory.
            self.run.holder.drop_second_model()
            self._ask(name, model, modes)
        # Earlier scores would appear next to the new ones in the report and on the model's card.
        clear_stale_scores(self.run, model)

    def _read(self, name: str, model: EvaluatedModel) -> None:
        evaluation = self.run.settings.evaluation
        self.items_asked[name] = f"at most {evaluation.perplexity_windows} windows"
        losses = Losses(
            address=(TABLE, ALL, f"{name}.{model.name}"),
            run=self.run,
            name=name,
            model=model,
            progress=self.run.progress("evaluating", model.name, name),
            held_out=self.held_out,
        )
        self._ensure(losses)

    def left_out(self, name: str, model: EvaluatedModel) -> dict[str, int]:
        """Return the number of items without a score by reason, from all runs."""
        results = self._results(name)
        rows = self.run.warehouse.ask("items_without_score", benchmark=results, model=model.name)
        reasons = dict(rows.iter_rows())
        unread = self.rows_left_out.get(name)
        return {"rows of the file": unread, **reasons} if unread else reasons

    def _results(self, name: str) -> str:
        return self.run.settings.evaluation.result_name(name)

    def tools_and_items(
        self, _mode: Mode, _benchmark: Benchmark, items: Sequence[BenchmarkItem]
    ) -> tuple[Toolbox, Mapping[str, BenchmarkItem]]:
        return self.tools, {item.item_id: item for item in items}

    def _ask(self, name: str, model: EvaluatedModel, modes: Sequence[Mode]) -> None:
        benchmark = configured_benchmark(name, self.run.settings)
        items = self._items_in_order(benchmark)
        count = min(self.run.settings.evaluation.items or len(items), len(items))
        is_all = count == len(items)
        self.items_asked[name] = f"all {count}" if is_all else f"the first {count} of {len(items)}"
        answers = self._answers(benchmark, items, count, model, modes)
        unanswered = {part.address[2]: part for part in answers if not part.count}
        asked = {part.address[2] for part in answers if part.count}
        prefix = f"{self._results(name)}.{model.name}."
        clear_up = partial(self._empty_stale, prefix, asked, unanswered)
        for part in answers:
            if part.count:
                self._ensure(replace(part, before_storing=clear_up))
                part.progress(part.count, None)
        # No part has cleared up if all of them were up to date.
        clear_up()

    def _answers(
        self,
        benchmark: Benchmark,
        items: Sequence[BenchmarkItem],
        count: int,
        model: EvaluatedModel,
        modes: Sequence[Mode],
    ) -> list[Answers]:
        name = self._results(benchmark.name)
        asked = self.items_asked[benchmark.name]
        show = self.run.progress("evaluating", model.name, name, f"{asked} items")
        answers: list[Answers] = []
        total, done = count * len(modes), 0
        by_mode = [(mode, *self.tools_and_items(mode, benchmark, items)) for mode in modes]
        for number, start in enumerate(range(0, len(items), _ITEMS_PER_PART)):
            ids = [item.item_id for item in items[start : start + _ITEMS_PER_PART]]
            of_part = Questions(benchmark, self.tools, self.run.settings)
            for mode, tools, asked_items in by_mode:
                questions = of_part
                if tools is not self.tools:
                    questions = Questions(benchmark, tools, self.run.settings)
                wanted = sum(id_ in asked_items for id_ in ids[: max(count - start, 0)])
                answers.append(
                    Answers(
                        address=(TABLE, ALL, f"{name}.{model.name}.{mode.name}.{number:04d}"),
                        run=self.run,
                        name=name,
                        model=model,
                        # Show progress of the whole benchmark, since that is what users wait for.
                        progress=partial(_show_total, show, done, total),
                        questions=questions,
                        mode=mode,
                        items=[asked_items[id_] for id_ in ids if id_ in asked_items],
                        count=wanted,
                    )
                )
                done += wanted
        return answers

    def _items_in_order(self, benchmark: Benchmark) -> list[BenchmarkItem]:
        """Return the items in a fixed random order, so that every part is a fair sample."""
        items, left_out = items_of(benchmark)
        for row in left_out[:_MAX_NAMED]:
            self.run.log.warning(f"{benchmark.name} leaves out {row}")
        if len(left_out) > _MAX_NAMED:
            self.run.log.warning(
                f"{benchmark.name} leaves out {len(left_out) - _MAX_NAMED} more rows."
            )
        for remark in remarks_on(benchmark, items):
            self.run.log.warning(remark)
        self.rows_left_out[benchmark.name] = len(left_out)
        seed = self.run.settings.evaluation.seed
        return sorted(items, key=lambda item: number_digest(seed, item.item_id))

    def _empty_stale(self, prefix: str, asked: Set[str], unanswered: Mapping[str, Answers]) -> None:
        """Remove rows of other items, models or settings, also in modes that are not asked now.

        Called only when there are new rows, so that a model that cannot be loaded loses no rows.
        """
        for part in self.run.warehouse.partitions(TABLE):
            name = part.name
            if name.startswith(prefix) and name not in asked:
                held = unanswered.get(name)
                clear_scores(self.run, name, lambda _, held=held: not (held and held.held_items))

    def _ensure(self, output: EvaluationPartition) -> None:
        state = output.ensure()
        self.states.setdefault(f"{output.name} with {output.model.name}", Counter())[state] += 1


def enabled_for(model: EvaluatedModel, settings: Settings) -> Mode:
    """Return the mode with calls, by the settings or else by the model's calibration."""
    least = min_call_probability(model.directory, settings.decoding.min_call_probability)
    return enabled(settings.decoding.call_top_k, least)


def _show_total(
    show: ProgressCallback, before: int, total: int, so_far: int, _of_part: int | None
) -> None:
    show(before + so_far, total)


def describe_states(states: Mapping[str, int]) -> str:
    in_order = sorted(states, key=lambda state: (state == UP_TO_DATE, state != DONE))
    return ", ".join(f"{states[state]} {state}" for state in in_order)
