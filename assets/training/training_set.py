"""The training set: C* of all shards, ready for training (paper §2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from assets.failures import expected_errors
from assets.inputs import Wanted
from assets.outputs import Made, SliceOutput
from assets.run import WITHOUT_MODEL, Run
from assets.training.benchmark_texts import BenchmarkTexts, benchmark_texts
from assets.training.training_choice import (
    EXCLUSIONS,
    LEFT_OUT,
    PLAIN_TEXTS,
    RANDOM_CONTROL,
    TEXTS,
    choose_texts,
)
from assets.training.training_inputs import TRAINING_SET, TrainingInputs
from dagster_project.metadata import table_markdown, table_metadata
from warehouse.schema import ALL


@dg.asset(
    group_name="train",
    kinds={"polars", "duckdb"},
    deps=["augmented_texts", "filtered_calls", "documents"],
    code_version=TRAINING_SET.version,
    metadata=table_metadata(TEXTS),
    required_resource_keys=WITHOUT_MODEL,
)
def training_set(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """C* of all shards, ready for training; one row = one window, by `document_id` and `window`.

    Of the rounds of annotation those that `training.rounds` names, by default the newest. A text
    that several of them annotated counts once, with the calls of the newest: losses of different
    annotators cannot be compared, so calls of different rounds do not compete for a position.
    Held-out shards stay out, and so do duplicates and texts that share 13 words in a row with a
    held-out text or a benchmark; the table `training_exclusions` names each. The texts of each
    tool are capped. `training.plain_share` puts windows without calls beside them.
    """
    with expected_errors():
        run = Run(context)
        texts = TrainingTexts(
            run=run, address=(TEXTS, ALL, ALL), benchmarks=benchmark_texts(run.settings)
        )
        inputs = texts.inputs()
        inputs.check_built()
        state = texts.bring_up_to_date()
        return dg.MaterializeResult(metadata={"state": state, **_report(texts, inputs)})


@dataclass(frozen=True, kw_only=True)
class TrainingTexts(SliceOutput):
    """The texts that are trained on, and before them the list of those that are left out.

    Attributes:
        benchmarks: see `benchmark_texts`.
    """

    benchmarks: Mapping[str, BenchmarkTexts]

    def inputs(self) -> TrainingInputs:
        """What is stored now."""
        return TrainingInputs.look(self.run, self.benchmarks)

    @property
    def beside(self) -> tuple[str, ...]:
        """See `SliceOutput.beside`."""
        return (EXCLUSIONS,)

    def wanted(self) -> Wanted:
        """See `Output.wanted`."""
        return self.inputs().wanted(self.run)

    def stored(self) -> Mapping[str, str] | None:
        """See `Output.stored`; None also where the list of what is left out was lost."""
        listed = self.run.warehouse.slice_metadata(EXCLUSIONS, ALL, ALL)
        return listed and self.run.warehouse.slice_metadata(*self.address)

    def compute(self, wanted: Wanted) -> Made:  # noqa: ARG002
        """See `SliceOutput.compute`."""
        chosen = choose_texts(self.run, self.inputs())
        for name, count in chosen.metadata.items():
            self.run.log.info(f"{name}: {count}")
        return chosen


def _report(texts: TrainingTexts, inputs: TrainingInputs) -> dict[str, Any]:
    """What the page of the asset shows."""
    stored = texts.stored() or {}
    rows = texts.run.warehouse.read_slice(TEXTS, ALL, ALL)
    excluded = texts.run.warehouse.view("training_exclusion_summary")
    splits = dict(rows["split"].value_counts().iter_rows())
    return {
        "dagster/row_count": rows.height,
        "train texts": splits.get("train", 0),
        "development texts": splits.get("development", 0),
        "calls": int(rows["calls"].list.len().sum()),
        "rounds": ", ".join(map(str, sorted(inputs.built))),
        "shards": ", ".join(sorted(inputs.augmented_texts)),
        "shards without augmented texts": ", ".join(inputs.missing) or "none",
        "held-out shards": ", ".join(inputs.held_out) or "none",
        "benchmarks": ", ".join(inputs.benchmarks) or "none",
        **{name: int(count) for name, count in stored.items() if name.startswith(LEFT_OUT)},
        **{
            name: count
            for name, count in stored.items()
            if name.startswith((PLAIN_TEXTS, RANDOM_CONTROL))
        },
        "exclusions": dg.MetadataValue.md(table_markdown(excluded, rows=40)),
        "preview": dg.MetadataValue.md(table_markdown(rows.select("split", "text"))),
    }
