"""A model measured by a benchmark, part by part, each part and mode a slice of its own.

    svamp.finetuned.disabled.0000   250 items, calls disabled
    svamp.finetuned.enabled.0000    the same items, calls enabled
    svamp.finetuned.disabled.0001   …

A part that is finished stays when a run is killed. Of two runs over the same benchmark each takes
the parts that the other does not work on. A run that asks fewer items (`evaluation.items`) asks the
first ones of these parts, and takes nothing away from what is stored of the same model under the
same settings. Does not ask questions itself.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial

import dagster as dg
import polars as pl
from filelock import Timeout

from assets.evaluation.questions import TOOL_FAILED, Questions
from assets.evaluation.stage import EVALUATION_RESULTS, losses_fingerprint, questions_fingerprint
from assets.evaluation.text_losses import measure_losses, text_collection
from assets.inputs import Input, Wanted
from assets.outputs import DONE, UP_TO_DATE, Made, replace_slice_if_stale
from assets.shard_texts import typed_frame
from assets.training.training_set import fingerprints_of, slice_inputs, training_and_held_out_shards
from dagster_project.fingerprints import FINGERPRINT, PARTS, Fingerprint
from dagster_project.home import Home
from dagster_project.progress import progress_of
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.toolbox import ToolboxResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.settings.evaluation_sections import PERPLEXITY
from dagster_project.settings.sections import Settings
from dagster_project.wiring.benchmarks import configured_benchmark, items_of, text_file
from dagster_project.wiring.evaluated_models import EvaluatedModel
from dagster_project.wiring.model_holder import ModelHolder
from dagster_project.wiring.toolbox import Toolbox, open_toolbox
from toolformer.evaluation.benchmarks.benchmark import Benchmark, BenchmarkItem
from toolformer.evaluation.modes import Mode
from toolformer.forward.language_model import LanguageModel
from toolformer.ground.digests import hex_digest, hex_digest_of_file, number_digest
from toolformer.ground.locking import Lock
from tools.model_identity import model_identity
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

TABLE = EVALUATION_RESULTS.name
DONE_BUT_FAILED = "done, but tools were down for some items; the next run asks these again"
# Of the rows that a benchmark leaves out, so many are named.
_NAMED = 5
# Minutes of work on two cores, so little is lost; enough to keep a batch full.
_ITEMS_PER_PART = 250
_UNFINISHED_OF = "unfinished_of"
# The fingerprint of a slice whose rows were taken out.
_EMPTY = ""


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a benchmark's items, as a model answers them in one mode.

    Attributes:
        benchmark, model, mode: of the answers.
        number: of the part, from 0.
        items: of the part.
        asked: how many of these this run asks, from the first on.
    """

    benchmark: Benchmark
    model: EvaluatedModel
    mode: Mode
    number: int
    items: list[BenchmarkItem]
    asked: int

    @property
    def slice_name(self) -> str:
        return f"{self.benchmark.name}.{self.model.name}.{self.mode.name}.{self.number:04d}"


@dataclass(slots=True)
class Measuring:
    """What measuring needs, and what came of it.

    Attributes:
        store, home, settings, tools, holder, force: of the run.
        held_out: keys of the shards that perplexity is measured on.
        log: told what is left out, and how far it is.
        states: how many slices were made or up to date, by benchmark and model.
        items_asked: which items this run asks, in words, by benchmark.
        rows_left_out: rows of its file that are not asked, by benchmark.
    """

    store: Warehouse
    home: Home
    settings: Settings
    tools: Toolbox
    holder: ModelHolder
    held_out: list[str]
    log: dg.DagsterLogManager
    force: bool
    states: dict[str, Counter[str]] = field(default_factory=dict)
    items_asked: dict[str, str] = field(default_factory=dict)
    rows_left_out: dict[str, int] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        context: dg.AssetExecutionContext,
        settings: SettingsResource,
        warehouse: WarehouseResource,
        toolbox: ToolboxResource,
        language_model: LanguageModelResource,
    ) -> "Measuring":
        """Check the settings and open what they name, before any expensive load."""
        loaded, home = settings.load(), settings.home()
        return cls(
            warehouse.open(),
            home,
            loaded,
            open_toolbox(loaded, home, named=toolbox.tools or None, while_decoding=True),
            language_model.holder(),
            training_and_held_out_shards(home)[1],
            context.log,
            settings.force,
        )

    def measure(self, name: str, model: EvaluatedModel, modes: Sequence[Mode]) -> None:
        """Measure a model by the benchmark of this name, wherever its slices are out of date.

        Args:
            name: of the benchmark.
            model: which.
            modes: how it is used; a text has one mode, calls disabled.

        Raises:
            ToolformerError: files or model cannot be read.
        """
        if self.settings.evaluation.is_text(name):
            self._measure_losses(name, model)
        else:
            self._ask(name, model, modes)

    def left_out(self, name: str, model: EvaluatedModel) -> dict[str, int]:
        """What has no score, by reason, in whichever run it was measured.

        Args:
            name: of a benchmark that was measured.
            model: by which.
        """
        asked = self.store.ask("items_without_score", benchmark=name, model=model.name)
        reasons = dict(asked.iter_rows())
        of_file = self.rows_left_out.get(name)
        return {"rows of the file": of_file, **reasons} if of_file else reasons

    def _measure_losses(self, name: str, model: EvaluatedModel) -> None:
        self.items_asked[name] = f"at most {self.settings.evaluation.perplexity_windows} windows"
        windows = text_collection(name, self.store, self.held_out, self.settings)
        progress = progress_of("evaluating", self.log, detail=f"{model.name}, {name}")

        def make(_: Wanted) -> Made:
            loaded = self.holder.load(
                model.directory, self.settings, self.home, precision="float32"
            )
            rows = measure_losses(loaded, windows, self.settings, progress=progress)
            return Made(self._rows(name, model, loaded, rows))

        self._replace(
            f"{name}.{model.name}", name, model, partial(self._wanted_losses, name, model), make
        )

    def _ask(self, name: str, model: EvaluatedModel, modes: Sequence[Mode]) -> None:
        benchmark = configured_benchmark(name, self.settings)
        items = self._items_in_order(benchmark)
        most = min(self.settings.evaluation.items or len(items), len(items))
        is_all = most == len(items)
        self.items_asked[name] = f"all {most}" if is_all else f"the first {most} of {len(items)}"
        parts = [
            [
                _Part(benchmark, model, mode, number, of_part, len(of_part[: max(most - start, 0)]))
                for mode in modes
            ]
            for number, start in enumerate(range(0, len(items), _ITEMS_PER_PART))
            for of_part in [items[start : start + _ITEMS_PER_PART]]
        ]
        self._empty_stale(benchmark, model, items, parts)
        asked = [of_modes for of_modes in parts if of_modes[0].asked]
        progress = progress_of(
            "evaluating",
            self.log,
            detail=f"{model.name}, {name}, {self.items_asked[name]} items",
        )
        total = most * len(modes)
        done = 0
        for of_modes in self._in_turn(asked):
            questions = Questions(benchmark, self.tools, self.settings)
            for part in of_modes:
                self._replace(
                    part.slice_name,
                    name,
                    model,
                    partial(self._wanted_answers, part),
                    partial(
                        self._answers,
                        part,
                        questions,
                        # The whole, and not the part, is what somebody waits for.
                        lambda so_far, _, before=done: progress(before + so_far, total),
                    ),
                )
                done += part.asked
                progress(done, total)

    def _answers(
        self,
        part: _Part,
        questions: Questions,
        progress: Callable[[int, int], None],
        wanted: Wanted,
    ) -> Made:
        loaded = self.holder.load(part.model.directory, self.settings, self.home)
        digest = wanted.fingerprint.digest
        known = self._answered(part.slice_name, digest)
        items = self._items(part)
        rows = questions.ask(loaded, part.mode, items, known=known, progress=progress)
        failed = sum(row.get("reason") == TOOL_FAILED for row in rows)
        frame = self._rows(part.benchmark.name, part.model, loaded, rows)
        if not failed:
            return Made(frame)
        # Out of date at once, so that the next run asks; the answers of the others stay.
        unfinished = wanted.fingerprint.with_part("failed_calls", failed)
        metadata = {**unfinished.metadata(), _UNFINISHED_OF: digest}
        return Made(frame, metadata, DONE_BUT_FAILED)

    def _answered(self, slice_name: str, digest: str) -> dict[str, Mapping[str, object]]:
        """Rows by item of a slice in which some calls had failed because a tool was down."""
        stored = self.store.slice_metadata(TABLE, ALL, slice_name)
        if self.force or stored is None or stored.get(_UNFINISHED_OF) != digest:
            return {}
        rows = self.store.read_slice(TABLE, ALL, slice_name)
        answered = rows.filter(pl.col("reason").ne_missing(TOOL_FAILED))
        return {row["item_id"]: row for row in answered.iter_rows(named=True)}

    def _items_in_order(self, benchmark: Benchmark) -> list[BenchmarkItem]:
        """In a random order that stays, so that the first ones and each part are fair samples."""
        items, left_out = items_of(benchmark)
        for row in left_out[:_NAMED]:
            self.log.warning(f"{benchmark.name} leaves out {row}")
        if len(left_out) > _NAMED:
            self.log.warning(f"{benchmark.name} leaves out {len(left_out) - _NAMED} more rows.")
        self.rows_left_out[benchmark.name] = len(left_out)
        seed = self.settings.evaluation.seed
        return sorted(items, key=lambda item: number_digest(seed, item.item_id))

    def _held(self, part: _Part) -> list[BenchmarkItem]:
        """The items that its slice holds, of this model under these settings; else none."""
        stored = self.store.slice_metadata(TABLE, ALL, part.slice_name) or {}
        held = part.items[: _item_count(stored)]
        digests = (stored.get(FINGERPRINT), stored.get(_UNFINISHED_OF))
        return held if self._fingerprint(part, held).digest in digests else []

    def _items(self, part: _Part) -> list[BenchmarkItem]:
        """What its slice is to hold: the items that are asked, and never fewer than it holds."""
        return max(part.items[: part.asked], self._held(part), key=len)

    def _in_turn(self, parts: Sequence[Sequence[_Part]]) -> Iterator[Sequence[_Part]]:
        """Parts, each in all modes; those that another run works on come last."""
        waiting = list(parts)
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

    def _lock(self, slice_name: str) -> Lock:
        return self.home.slice_lock(TABLE, ALL, slice_name)

    def _empty_stale(
        self,
        benchmark: Benchmark,
        model: EvaluatedModel,
        items: Sequence[BenchmarkItem],
        parts: Iterable[Sequence[_Part]],
    ) -> None:
        """Leave no rows of other items or of another model, in whatever mode.

        A run that is stopped, and a mode that this one does not ask in, would leave them beside
        the new ones. So would a run of fewer items those that were asked under other settings.
        """
        of_model = json.dumps(
            [model_identity(model.directory), self.settings.language_model.bos_token]
        )
        not_asked = {
            part.slice_name: part for of_modes in parts for part in of_modes if not part.asked
        }
        prefix = f"{benchmark.name}.{model.name}"

        def is_stale(slice_name: str) -> bool:
            stored = self.store.slice_metadata(TABLE, ALL, slice_name)
            if stored is None or stored[FINGERPRINT] == _EMPTY:
                return False
            if slice_name in not_asked:
                return not self._held(not_asked[slice_name])
            made_of = json.loads(stored.get(PARTS, "{}"))
            number = slice_name.rpartition(".")[2]
            start = int(number) * _ITEMS_PER_PART if number.isdecimal() else len(items)
            held = items[start : start + _item_count(stored)]
            is_asked = made_of.get("questions") == json.dumps(_digest_of(benchmark, held))
            return not is_asked or made_of.get("language_model") != of_model

        for each in self.store.slices(TABLE):
            if f"{each.name}.".startswith(f"{prefix}.") and is_stale(each.name):
                # Another run that has the lock is about to replace it.
                with suppress(Timeout), self._lock(each.name).acquire(timeout=0):
                    if is_stale(each.name):
                        empty = typed_frame(TABLE, [])
                        self.store.replace_slice(
                            TABLE, ALL, each.name, empty, metadata={FINGERPRINT: _EMPTY}
                        )

    def _replace(
        self,
        slice_name: str,
        name: str,
        model: EvaluatedModel,
        wanted: Callable[[], Wanted],
        make: Callable[[Wanted], Made],
    ) -> None:
        state = replace_slice_if_stale(
            self.store,
            self.home,
            (TABLE, ALL, slice_name),
            wanted,
            make,
            force=self.force,
            hold_device=partial(self.holder.hold_device, self.settings, self.home),
        )
        self.states.setdefault(f"{name} with {model.name}", Counter())[state] += 1

    def _rows(
        self, name: str, model: EvaluatedModel, loaded: LanguageModel, rows: list[dict]
    ) -> pl.DataFrame:
        same = {"benchmark": name, "model": model.name, "precision": loaded.precision}
        return typed_frame(TABLE, [{**same, **row} for row in rows])

    def _wanted_losses(self, name: str, model: EvaluatedModel) -> Wanted:
        documents: dict[str, Input] = {}
        file = None
        if name == PERPLEXITY:
            documents = slice_inputs(self.store, "documents", self.held_out)
        else:
            file = hex_digest_of_file(text_file(name, self.settings))
        fingerprint = losses_fingerprint(
            self.settings,
            # Of the model that is there now: another run may train it while this one waits.
            model_identity(model.directory),
            held_out_documents=fingerprints_of(documents),
            file=file,
        )
        return Wanted(fingerprint, tuple(documents.values()))

    def _wanted_answers(self, part: _Part) -> Wanted:
        return Wanted(self._fingerprint(part, self._items(part)))

    def _fingerprint(self, part: _Part, items: Sequence[BenchmarkItem]) -> Fingerprint:
        tools = self.tools.with_further(part.benchmark.further_tools).tools
        callable_tools = {} if part.mode.is_disabled else tools
        return questions_fingerprint(
            _digest_of(part.benchmark, items),
            len(items),
            part.mode,
            self.settings,
            model_identity(part.model.directory),
            blocked_tools=part.benchmark.blocked_tools,
            tool_versions={name: tool.version for name, tool in callable_tools.items()},
        )


def told(states: Mapping[str, int]) -> str:
    """How many slices were made how, in words.

    Example:
        >>> told({"up to date": 1, "done": 2})
        '2 done, 1 up to date'
    """
    in_order = sorted(states, key=lambda state: (state == UP_TO_DATE, state != DONE))
    return ", ".join(f"{states[state]} {state}" for state in in_order)


def _digest_of(benchmark: Benchmark, items: Sequence[BenchmarkItem]) -> str:
    """Of the questions of a part, and of how they are asked and scored."""
    return hex_digest(
        benchmark.name,
        benchmark.version,
        benchmark.stop_rule,
        *(sorted(asdict(item).items()) for item in items),
    )


def _item_count(stored: Mapping[str, str]) -> int:
    """Of how many items the rows of a slice are, from the first of its part on."""
    return int(json.loads(stored.get(PARTS, "{}")).get("items", 0))
