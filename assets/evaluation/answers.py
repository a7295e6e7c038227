"""Stores the answers to a benchmark in partitions of some items each.

    svamp.finetuned.disabled.0000   250 items, calls disabled
    svamp.finetuned.enabled.0000    the same items, calls enabled
    svamp.finetuned.disabled.0001   …

A run with fewer items (`evaluation.items`) asks the first ones. It removes no stored answers of the
same model under the same settings.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import polars as pl

from assets.evaluation.questions import TOOL_FAILED, Questions
from assets.evaluation.stage import EVALUATION_RESULTS, OF_CALLS, OF_QUESTIONS
from assets.inputs import Expected
from assets.outputs import OutputRows, PartitionOutput
from assets.shard_texts import typed_frame
from assets.stale_scores import IDENTITY, identity_of
from toolformer.base.digests import hex_digest
from toolformer.evaluation.benchmarks.benchmark import Benchmark, BenchmarkItem
from toolformer.evaluation.modes import Mode
from toolformer.forward.model import Model
from toolformer.home.fingerprints import PARTS, Fingerprint
from toolformer.home.progress import ProgressCallback
from toolformer.home.wiring.models import EvaluatedModel
from tools.model_identity import chat_template_identity

TABLE = EVALUATION_RESULTS.name
DONE_BUT_FAILED = "done, but tools were down for some items; the next run asks these again"
_UNFINISHED_OF = "unfinished_of"


@dataclass(frozen=True, kw_only=True)
class EvaluationPartition(PartitionOutput):
    """A partition of `evaluation_results`: results of a model on the benchmark `name`."""

    name: str
    model: EvaluatedModel
    progress: ProgressCallback

    @property
    def needs_device(self) -> bool:
        return not self.model.is_served

    def load(self, *, precision: str | None = None) -> Model:
        run = self.run
        return self.model.load(run, precision=precision)

    def rows(self, loaded: Model, rows: list[dict]) -> pl.DataFrame:
        same = {"benchmark": self.name, "model": self.model.name, "precision": loaded.precision}
        return typed_frame(TABLE, [{**same, **row} for row in rows])


@dataclass(frozen=True, kw_only=True)
class Answers(EvaluationPartition):
    """Answers to some items of a benchmark in one mode; a run asks the first `count` of them."""

    questions: Questions
    mode: Mode
    items: Sequence[BenchmarkItem]
    count: int
    before_storing: Callable[[], object] = lambda: None

    @property
    def held_items(self) -> Sequence[BenchmarkItem]:
        """Items that the partition already holds for this model and these settings."""
        stored = self.stored() or {}
        # Stored items are always the first ones.
        count = int(json.loads(stored.get(PARTS, "{}")).get("items", 0))
        held = self.items[:count]
        asked = self._fingerprint(held)
        is_of_these = asked.difference(stored) is None or asked.digest == stored.get(_UNFINISHED_OF)
        return held if is_of_these else []

    @property
    def _wanted_items(self) -> Sequence[BenchmarkItem]:
        return max(self.items[: self.count], self.held_items, key=len)

    def expected(self) -> Expected:
        return Expected(self._fingerprint(self._wanted_items))

    def compute(self, expected: Expected) -> OutputRows:
        digest = expected.fingerprint.digest
        loaded = self.load()
        rows = self.questions.ask(
            loaded,
            self.mode,
            self._wanted_items,
            known=self._answered(digest),
            progress=self.progress,
        )
        failed = sum(row.get("reason") == TOOL_FAILED for row in rows)
        frame = self.rows(loaded, rows)
        self.before_storing()
        if not failed:
            return OutputRows(frame)
        # Mark the partition as stale at once, so that the next run asks the failed items again. The
        # other answers are kept.
        unfinished = expected.fingerprint.with_parts({"failed_calls": failed})
        return OutputRows(
            frame, {_UNFINISHED_OF: digest}, DONE_BUT_FAILED, actual_fingerprint=unfinished
        )

    def _fingerprint(self, items: Sequence[BenchmarkItem]) -> Fingerprint:
        """Return the fingerprint of answers; it omits tools and calls if calls are disabled."""
        benchmark, settings, mode = self.questions.benchmark, self.run.settings, self.mode
        parts: dict[str, object] = {
            "questions": questions_digest(benchmark, items),
            "items": len(items),
            IDENTITY: identity_of(self.model, settings),
        }
        of_questions = OF_QUESTIONS
        if settings.evaluation.form == "chat":
            parts["chat_template"] = chat_template_identity(self.model.directory)
            # A template may contain the date.
            of_questions = (*OF_QUESTIONS, "evaluation.today")
        if mode.is_disabled:
            return EVALUATION_RESULTS.fingerprint(settings, parts, paths=of_questions)
        tools = self.questions.tools.tools
        parts |= {
            "blocked_tools": list(benchmark.blocked_tools),
            "tool_versions": {name: tool.version for name, tool in tools.items()},
            "call_top_k": mode.call_top_k,
            "min_call_probability": mode.min_call_probability,
            "without_tool": mode.without_tool,
            "is_forced": mode.is_forced,
        }
        return EVALUATION_RESULTS.fingerprint(settings, parts, paths=(*OF_QUESTIONS, *OF_CALLS))

    def _answered(self, digest: str) -> dict[str, Mapping[str, object]]:
        """Return the answers of an unfinished run by item, without those whose tool was down."""
        stored = self.stored()
        if self.run.force or stored is None or stored.get(_UNFINISHED_OF) != digest:
            return {}
        rows = self.run.warehouse.read_partition(*self.address)
        answered = rows.filter(pl.col("reason").ne_missing(TOOL_FAILED))
        return {row["item_id"]: row for row in answered.iter_rows(named=True)}


def questions_digest(benchmark: Benchmark, items: Sequence[BenchmarkItem]) -> str:
    return hex_digest(
        benchmark.name,
        benchmark.version,
        benchmark.stop_rule,
        *(sorted(asdict(item).items()) for item in items),
    )
