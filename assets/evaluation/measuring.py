"""A model measured by a benchmark, part by part, each part and mode a slice of its own.

A part that is finished stays when a run is killed. Of two runs over the same benchmark each takes
the parts that the other does not work on. Does not ask questions itself.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import dagster as dg
from filelock import FileLock, Timeout

from assets.evaluation.measured import (
    EMPTY,
    TABLE,
    Answers,
    BenchmarkPart,
    Measured,
    item_count,
    questions_digest,
)
from assets.evaluation.measured_texts import Losses
from assets.evaluation.questions import Questions
from assets.outputs import DONE, UP_TO_DATE
from assets.run import Run
from assets.shard_texts import typed_frame
from assets.training.training_inputs import training_and_held_out_shards
from dagster_project.fingerprints import FINGERPRINT, PARTS
from dagster_project.progress import ProgressCallback
from dagster_project.wiring.benchmarks import configured_benchmark, items_of
from dagster_project.wiring.evaluated_models import EvaluatedModel
from dagster_project.wiring.toolbox import Toolbox, open_toolbox
from toolformer.evaluation.benchmarks.benchmark import Benchmark, BenchmarkItem
from toolformer.evaluation.modes import Mode
from toolformer.ground.digests import number_digest
from tools.model_identity import model_identity
from warehouse.errors import StoreConflictError
from warehouse.schema import ALL

# Minutes of work on two cores, so little is lost; enough to keep a batch full.
_ITEMS_PER_PART = 250
# Of the rows that a benchmark leaves out, so many are named.
_NAMED = 5


@dataclass(slots=True)
class Measuring:
    """What measuring needs, and what came of it.

    Attributes:
        run: of the asset.
        tools: that may be called.
        held_out: keys of the shards that perplexity is measured on.
        states: how many slices were made or up to date, by benchmark and model.
        items_asked: which items this run asks, in words, by benchmark.
        rows_left_out: rows of its file that are not asked, by benchmark.
    """

    run: Run
    tools: Toolbox
    held_out: list[str]
    states: dict[str, Counter[str]] = field(default_factory=dict)
    items_asked: dict[str, str] = field(default_factory=dict)
    rows_left_out: dict[str, int] = field(default_factory=dict)

    @classmethod
    def open(cls, context: dg.AssetExecutionContext) -> "Measuring":
        """Check the settings and open what they name, before any expensive load."""
        run = Run(context)
        named = run.named_tools or None
        tools = open_toolbox(run.settings, run.home, named=named, while_decoding=True)
        return cls(run, tools, training_and_held_out_shards(run.home)[1])

    def measure(self, name: str, model: EvaluatedModel, modes: Sequence[Mode]) -> None:
        """Measure a model by the benchmark of this name, wherever its slices are out of date.

        Args:
            name: of the benchmark.
            model: which.
            modes: how it is used; a text has one mode, calls disabled.

        Raises:
            ToolformerError: files or model cannot be read.
        """
        if self.run.settings.evaluation.is_text(name):
            self._measure_losses(name, model)
        else:
            self._ask(name, model, modes)

    def left_out(self, name: str, model: EvaluatedModel) -> dict[str, int]:
        """What has no score, by reason, in whichever run it was measured.

        Args:
            name: of a benchmark that was measured.
            model: by which.
        """
        asked = self.run.warehouse.ask("items_without_score", benchmark=name, model=model.name)
        reasons = dict(asked.iter_rows())
        of_file = self.rows_left_out.get(name)
        return {"rows of the file": of_file, **reasons} if of_file else reasons

    def _measure_losses(self, name: str, model: EvaluatedModel) -> None:
        self.items_asked[name] = (
            f"at most {self.run.settings.evaluation.perplexity_windows} windows"
        )
        losses = Losses(
            address=(TABLE, ALL, f"{name}.{model.name}"),
            run=self.run,
            name=name,
            model=model,
            progress=self.run.progress("evaluating", model.name, name),
            held_out=self.held_out,
        )
        # Before the device is waited for: there may be no text.
        losses.documents()
        self._bring_up_to_date(losses)

    def _ask(self, name: str, model: EvaluatedModel, modes: Sequence[Mode]) -> None:
        benchmark = configured_benchmark(name, self.run.settings)
        items = self._items_in_order(benchmark)
        most = min(self.run.settings.evaluation.items or len(items), len(items))
        is_all = most == len(items)
        self.items_asked[name] = f"all {most}" if is_all else f"the first {most} of {len(items)}"
        asked = f"{self.items_asked[name]} items"
        show = self.run.progress("evaluating", model.name, name, asked)
        tools = self.tools.with_further(benchmark.further_tools)
        parts = [
            [
                BenchmarkPart(
                    *(self.run, tools, benchmark, model, mode, number, of_part),
                    asked=len(of_part[: max(most - start, 0)]),
                )
                for mode in modes
            ]
            for number, start in enumerate(range(0, len(items), _ITEMS_PER_PART))
            for of_part in [items[start : start + _ITEMS_PER_PART]]
        ]
        self._empty_stale(benchmark, model, items, parts)
        total, done = most * len(modes), 0
        for of_modes in self._in_turn([of_modes for of_modes in parts if of_modes[0].asked]):
            questions = Questions(benchmark, self.tools, self.run.settings)
            for part in of_modes:
                self._bring_up_to_date(
                    Answers(
                        address=(TABLE, ALL, part.slice_name),
                        run=self.run,
                        name=name,
                        model=model,
                        part=part,
                        questions=questions,
                        # The whole, and not the part, is what somebody waits for.
                        progress=partial(_show_total, show, done, total),
                    )
                )
                done += part.asked
                show(done, total)

    def _items_in_order(self, benchmark: Benchmark) -> list[BenchmarkItem]:
        """In a random order that stays, so that the first ones and each part are fair samples."""
        items, left_out = items_of(benchmark)
        for row in left_out[:_NAMED]:
            self.run.log.warning(f"{benchmark.name} leaves out {row}")
        if len(left_out) > _NAMED:
            self.run.log.warning(f"{benchmark.name} leaves out {len(left_out) - _NAMED} more rows.")
        self.rows_left_out[benchmark.name] = len(left_out)
        seed = self.run.settings.evaluation.seed
        return sorted(items, key=lambda item: number_digest(seed, item.item_id))

    def _in_turn(self, waiting: list[list[BenchmarkPart]]) -> Iterator[list[BenchmarkPart]]:
        """Parts, each in all modes; those that another run works on come last."""
        while waiting:
            free = (
                place
                for place, of_modes in enumerate(waiting)
                if not any(self._is_taken(part.slice_name) for part in of_modes)
            )
            yield waiting.pop(next(free, 0))

    def _is_taken(self, slice_name: str) -> bool:
        try:
            with self._lock(slice_name).acquire(timeout=0):
                return False
        except Timeout:
            return True

    def _lock(self, slice_name: str) -> FileLock:
        return self.run.home.slice_lock(TABLE, ALL, slice_name)

    def _empty_stale(
        self,
        benchmark: Benchmark,
        model: EvaluatedModel,
        items: Sequence[BenchmarkItem],
        parts: Iterable[Sequence[BenchmarkPart]],
    ) -> None:
        """Leave no rows of other items or of another model, in whatever mode.

        A run that is stopped, and a mode that this one does not ask in, would leave them beside
        the new ones. So would a run of fewer items those that were asked under other settings.
        """
        not_asked = {
            part.slice_name: part for of_modes in parts for part in of_modes if not part.asked
        }
        is_stale = partial(self._is_stale, benchmark, model, items, not_asked)
        prefix = f"{benchmark.name}.{model.name}"
        for each in self.run.warehouse.slices(TABLE):
            if f"{each.name}.".startswith(f"{prefix}.") and is_stale(each.name):
                # Another run that has the lock is about to replace it.
                with (
                    suppress(Timeout, StoreConflictError),
                    self._lock(each.name).acquire(timeout=0),
                ):
                    if is_stale(each.name):
                        empty = typed_frame(TABLE, [])
                        self.run.warehouse.replace_slice(
                            TABLE, ALL, each.name, empty, metadata={FINGERPRINT: EMPTY}
                        )

    def _is_stale(
        self,
        benchmark: Benchmark,
        model: EvaluatedModel,
        items: Sequence[BenchmarkItem],
        not_asked: Mapping[str, BenchmarkPart],
        slice_name: str,
    ) -> bool:
        """Whether a slice holds rows of other items, of another model, or of other settings."""
        stored = self.run.warehouse.slice_metadata(TABLE, ALL, slice_name)
        if stored is None or stored[FINGERPRINT] == EMPTY:
            return False
        if slice_name in not_asked:
            return not not_asked[slice_name].held_items()
        made_of = json.loads(stored.get(PARTS, "{}"))
        number = slice_name.rpartition(".")[2]
        start = int(number) * _ITEMS_PER_PART if number.isdecimal() else len(items)
        held = items[start : start + item_count(stored)]
        is_asked = made_of.get("questions") == json.dumps(questions_digest(benchmark, held))
        identity = [model_identity(model.directory), self.run.settings.language_model.bos_token]
        return not is_asked or made_of.get("language_model") != json.dumps(identity)

    def _bring_up_to_date(self, output: Measured) -> None:
        state = output.bring_up_to_date()
        self.states.setdefault(f"{output.name} with {output.model.name}", Counter())[state] += 1


def _show_total(
    show: ProgressCallback, before: int, total: int, so_far: int, _of_part: int | None
) -> None:
    show(before + so_far, total)


def told(states: Mapping[str, int]) -> str:
    """How many slices were made how, in words.

    Example:
        >>> told({"up to date": 1, "done": 2})
        '2 done, 1 up to date'
    """
    in_order = sorted(states, key=lambda state: (state == UP_TO_DATE, state != DONE))
    return ", ".join(f"{states[state]} {state}" for state in in_order)
