"""What a model is measured by, as outputs: the losses of a text, the answers to some questions.

    svamp.finetuned.disabled.0000   250 items, calls disabled
    svamp.finetuned.enabled.0000    the same items, calls enabled
    svamp.finetuned.disabled.0001   …

A run that asks fewer items (`evaluation.items`) asks the first ones of these parts, and takes
nothing away from what is stored of the same model under the same settings.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import polars as pl

from assets.evaluation.questions import TOOL_FAILED, Questions
from assets.evaluation.stage import EVALUATION_RESULTS, losses_fingerprint, questions_fingerprint
from assets.evaluation.text_losses import WindowsOf, measure_losses
from assets.inputs import Input, Wanted, fingerprints_of, slice_inputs
from assets.outputs import Made, SliceOutput
from assets.shard_texts import typed_frame
from dagster_project.fingerprints import FINGERPRINT, PARTS, Fingerprint
from dagster_project.progress import ProgressCallback
from dagster_project.settings.evaluation_sections import PERPLEXITY
from dagster_project.wiring.benchmarks import text_file
from dagster_project.wiring.evaluated_models import EvaluatedModel
from toolformer.evaluation.benchmarks.benchmark import Benchmark, BenchmarkItem
from toolformer.evaluation.modes import Mode
from toolformer.forward.language_model import LanguageModel
from toolformer.ground.digests import hex_digest, hex_digest_of_file
from tools.model_identity import model_identity
from warehouse.schema import ALL

if TYPE_CHECKING:
    from assets.evaluation.measuring import Measuring

TABLE = EVALUATION_RESULTS.name
DONE_BUT_FAILED = "done, but tools were down for some items; the next run asks these again"
_UNFINISHED_OF = "unfinished_of"
# The fingerprint of a slice whose rows were taken out.
EMPTY = ""


@dataclass(kw_only=True)
class Measured(SliceOutput["Measuring"]):
    """A slice of `evaluation_results`.

    Attributes:
        name: of the benchmark.
        model: that is measured.
    """

    name: str
    model: EvaluatedModel

    @property
    def needs_device(self) -> bool:
        """See `Output.needs_device`."""
        return True

    def hold_device(self) -> str:
        """See `Output.hold_device`."""
        return self.run.holder.hold_device(self.run.settings, self.run.home)

    def rows(self, loaded: LanguageModel, rows: list[dict]) -> pl.DataFrame:
        """Rows with what all of the slice have alike."""
        same = {
            "benchmark": self.name,
            "model": self.model.name,
            "precision": loaded.precision,
        }
        return typed_frame(TABLE, [{**same, **row} for row in rows])


@dataclass(kw_only=True)
class Losses(Measured):
    """The losses of a text, or of the held-out shards, with calls disabled.

    Attributes:
        windows: of the text.
        progress: shows how far it is.
    """

    windows: WindowsOf
    progress: ProgressCallback

    def wanted(self) -> Wanted:
        """See `Output.wanted`."""
        settings, documents, file = self.run.settings, dict[str, Input](), None
        if self.name == PERPLEXITY:
            documents = slice_inputs(self.run.warehouse, "documents", self.run.held_out)
        else:
            file = hex_digest_of_file(text_file(self.name, settings))
        fingerprint = losses_fingerprint(
            settings,
            # Of the model that is there now: another run may train it while this one waits.
            model_identity(self.model.directory),
            held_out_documents=fingerprints_of(documents),
            file=file,
        )
        return Wanted(fingerprint, tuple(documents.values()))

    def compute(self, wanted: Wanted) -> Made:  # noqa: ARG002
        """See `SliceOutput.compute`."""
        run, settings = self.run, self.run.settings
        loaded = run.holder.load(self.model.directory, settings, self.run.home, precision="float32")
        return Made(
            self.rows(
                loaded, measure_losses(loaded, self.windows, settings, progress=self.progress)
            )
        )


@dataclass(frozen=True, slots=True)
class Part:
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
        """Name of its slice."""
        return f"{self.benchmark.name}.{self.model.name}.{self.mode.name}.{self.number:04d}"

    def fingerprint(self, run: "Measuring", items: Sequence[BenchmarkItem]) -> Fingerprint:
        """Of the answers to some of its items."""
        tools = run.tools.with_further(self.benchmark.further_tools).tools
        callable_tools = {} if self.mode.is_disabled else tools
        return questions_fingerprint(
            questions_digest(self.benchmark, items),
            len(items),
            self.mode,
            run.settings,
            model_identity(self.model.directory),
            blocked_tools=self.benchmark.blocked_tools,
            tool_versions={name: tool.version for name, tool in callable_tools.items()},
        )

    def held_items(self, run: "Measuring") -> list[BenchmarkItem]:
        """Those that its slice holds, of this model under these settings; else none."""
        stored = run.warehouse.slice_metadata(TABLE, ALL, self.slice_name) or {}
        held = self.items[: item_count(stored)]
        digests = (stored.get(FINGERPRINT), stored.get(_UNFINISHED_OF))
        return held if self.fingerprint(run, held).digest in digests else []

    def wanted_items(self, run: "Measuring") -> list[BenchmarkItem]:
        """Those that are asked, and never fewer than its slice holds."""
        return max(self.items[: self.asked], self.held_items(run), key=len)


@dataclass(kw_only=True)
class Answers(Measured):
    """The answers to a part of a benchmark.

    Attributes:
        part: which.
        questions: asks them; one for all modes of the part.
        progress: shows how far it is.
    """

    part: Part
    questions: Questions
    progress: ProgressCallback

    def wanted(self) -> Wanted:
        """See `Output.wanted`."""
        return Wanted(self.part.fingerprint(self.run, self.part.wanted_items(self.run)))

    def compute(self, wanted: Wanted) -> Made:
        """See `SliceOutput.compute`."""
        run, digest = self.run, wanted.fingerprint.digest
        loaded = run.holder.load(self.model.directory, run.settings, self.run.home)
        rows = self.questions.ask(
            loaded,
            self.part.mode,
            self.part.wanted_items(run),
            known=self._answered(digest),
            progress=self.progress,
        )
        failed = sum(row.get("reason") == TOOL_FAILED for row in rows)
        frame = self.rows(loaded, rows)
        if not failed:
            return Made(frame)
        # Out of date at once, so that the next run asks; the answers of the others stay.
        unfinished = wanted.fingerprint.with_part("failed_calls", failed)
        metadata = {**unfinished.metadata(), _UNFINISHED_OF: digest}
        return Made(frame, metadata, DONE_BUT_FAILED)

    def _answered(self, digest: str) -> dict[str, Mapping[str, object]]:
        """Rows by item of a slice in which some calls had failed because a tool was down."""
        stored = self.stored()
        if self.run.force or stored is None or stored.get(_UNFINISHED_OF) != digest:
            return {}
        rows = self.run.warehouse.read_slice(*self.address)
        answered = rows.filter(pl.col("reason").ne_missing(TOOL_FAILED))
        return {row["item_id"]: row for row in answered.iter_rows(named=True)}


def questions_digest(benchmark: Benchmark, items: Sequence[BenchmarkItem]) -> str:
    """Of the questions of a part, and of how they are asked and scored."""
    return hex_digest(
        benchmark.name,
        benchmark.version,
        benchmark.stop_rule,
        *(sorted(asdict(item).items()) for item in items),
    )


def item_count(stored: Mapping[str, str]) -> int:
    """Of how many items the rows of a slice are, from the first of its part on."""
    return int(json.loads(stored.get(PARTS, "{}")).get("items", 0))
