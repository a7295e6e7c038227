"""Collects the contents of the report: views of the warehouse as figures, tables and sentences."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from toolformer.evaluation.modes import ENABLED
from toolformer.home.metadata import cell_text
from toolformer.home.plots.figures import difference_plot, threshold_plot, training_curve
from toolformer.home.plots.style import svg_of
from toolformer.home.report.remarks import remarks_on_scores
from toolformer.home.report.texts import ShownTexts, shown_texts
from toolformer.home.report.verdicts import Verdict, verdicts_of
from toolformer.home.wiring.models import name_of_model
from toolformer.settings.evaluation_sections import FINETUNED
from toolformer.settings.sections import Settings
from toolformer.settings.training_sections import PLAIN, SHUFFLED
from toolformer.sources.losses import losses_in_words
from warehouse.warehouse import Warehouse

# Maximum number of sampled texts per tool and round.
_TEXTS_PER_TOOL = 300
_BYTES_OF_TEXTS = 12_000_000


class Picture(NamedTuple):
    caption: str
    svg: str


class Table(NamedTuple):
    """Formatted cells of a table; numeric columns align right."""

    columns: Sequence[str]
    numeric: Sequence[bool]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything the page shows; sections without data are empty."""

    facts: Sequence[tuple[str, str]]
    losses: Sequence[tuple[str, int]]
    verdicts: Sequence[Verdict]
    gains: Table
    gain_pictures: Sequence[Picture]
    call_use: Table
    scores: Table
    remarks: Mapping[str, str]
    funnel: Table
    proposals: Table
    sweeps: Sequence[Picture]
    marks: Table
    precision: Table
    agreement: Table
    costs: Table
    training: Sequence[Picture]
    exclusions: Table
    texts: ShownTexts


def contents_of(store: Warehouse, settings: Settings) -> Contents:
    metrics = store.query("select * from training_metrics order by run, step")
    texts = _whole_calls(store, store.ask("annotated_texts", texts=_TEXTS_PER_TOOL))
    verdicts = verdicts_of(store)
    rounds = sorted({verdict.round for verdict in verdicts})
    gains = _gains(store, settings, [*rounds, settings.training_rounds[0]])
    # The view has null for thresholds whose counts are unknown.
    sweep = store.view("threshold_sweep").drop_nulls("kept_calls")
    return Contents(
        facts=_facts(store.ask("corpus_size"), settings),
        losses=losses_in_words(store.ask("losses_by_kind").iter_rows()),
        verdicts=verdicts,
        gains=table_of(gains),
        gain_pictures=_gain_pictures(gains),
        call_use=table_of(store.view("call_use").filter(mode=ENABLED).drop("mode")),
        scores=table_of(
            store.view("evaluation_table").filter(source="ours").drop("family", "source")
        ),
        remarks=remarks_on_scores(store),
        funnel=table_of(
            store.view("call_funnel").pivot("stage", index=["tool", "round"], values="rows")
        ),
        proposals=table_of(store.view("call_proposals")),
        sweeps=list(_sweeps(sweep)),
        marks=table_of(_marks(store)),
        precision=table_of(store.view("label_precision")),
        agreement=table_of(store.view("label_agreement")),
        costs=table_of(store.ask("cost_of_tools")),
        training=[]
        if metrics.is_empty()
        else [Picture("All finetuning runs", svg_of(training_curve(metrics), "training"))],
        exclusions=table_of(store.view("training_exclusion_summary")),
        texts=shown_texts(texts, max_per_tool=_TEXTS_PER_TOOL, max_bytes=_BYTES_OF_TEXTS),
    )


def table_of(frame: pl.DataFrame) -> Table:
    """Format the rows of a frame for the page; see `cell_text`."""
    return Table(
        [name.replace("_", " ") for name in frame.columns],
        [kind.is_numeric() for kind in frame.dtypes],
        [[cell_text(value) for value in row] for row in frame.iter_rows()],
    )


def _facts(size: pl.DataFrame, settings: Settings) -> list[tuple[str, str]]:
    counts = size.row(0, named=True)
    sources = [Path(source.path).name for source in settings.corpus.sources]
    model = settings.language_model
    # The labels say "now" because the rows may come from earlier settings.
    return [
        ("language model now set", model.server.model or model.path),
        ("preset now set", settings.preset),
        ("sources now listed", ", ".join(sources) or "the texts that come with the project"),
        ("texts", f"{counts['documents']:,} in {counts['shards']:,} shards"),
        ("candidate calls", f"{counts['candidate_calls']:,}"),
        ("kept calls", f"{counts['kept_calls']:,}"),
        ("of these, written by the model", f"{counts['kept_by_model']:,}"),
        ("texts with calls", f"{counts['kept_texts']:,}"),
        ("rounds of annotation", f"{counts['rounds']:,}"),
    ]


def _whole_calls(store: Warehouse, calls: pl.DataFrame) -> pl.DataFrame:
    """Drop calls whose stored result or decision a running build has not computed again yet."""
    decided = store.ask("compared_partitions", shards=frozenset(calls["shard"]))
    return calls.join(decided.filter("is_whole"), on=["shard", "tool", "round"], how="semi")


def _gains(store: Warehouse, settings: Settings, rounds: Sequence[int]) -> pl.DataFrame:
    """Return the gains over the controls for the newest round whose model was evaluated."""
    gains = pl.DataFrame()
    for number in sorted(set(rounds), reverse=True):
        training = settings.training.model_copy(update={"rounds": (number,)})
        in_round = settings.model_copy(update={"training": training})
        names = {key: name_of_model(key, in_round) for key in (FINETUNED, PLAIN, SHUFFLED)}
        gains = store.ask(
            "gains_over_controls",
            model=names[FINETUNED],
            plain=names[PLAIN],
            shuffled=names[SHUFFLED],
        )
        if not gains.is_empty():
            break
    return gains


def _gain_pictures(gains: pl.DataFrame) -> list[Picture]:
    # Perplexity rows, which are not in percentage points, have no calls.
    shown = gains.rename({"against": "comparison"}).filter(pl.col("share_with_call") > 0)
    if shown.is_empty():
        return []
    caption = "Finetuned model with calls, compared with itself without calls and with the controls"
    return [Picture(caption, svg_of(difference_plot(shown), "gains"))]


def _sweeps(sweep: pl.DataFrame) -> Iterable[Picture]:
    """Yield one figure per tool and round, small enough for a phone."""
    has_rounds = sweep["round"].n_unique() > 1
    for (number, tool), rows in sweep.partition_by(
        "round", "tool", as_dict=True, maintain_order=True
    ).items():
        caption = f"{tool}, round {number}" if has_rounds else str(tool)
        yield Picture(caption, svg_of(threshold_plot(rows), f"sweep-{number}-{tool}"))


def _marks(store: Warehouse) -> pl.DataFrame:
    """Return precision and recall against marked calculations, for tools that keep a call there."""
    # Most shards have no marks. Without this limit, the view would open the files of all shards.
    shards = {info.shard for info in store.partitions("text_marks") if info.path}
    marked = store.limited_to(shards).view("filter_by_marks")
    kept = marked.filter(pl.col("kept_calls").max().over("tool", "round") > 0)
    thresholds = ("filtering_threshold", "contrast_threshold")
    return kept.select(
        "tool", "round", "proposed", *thresholds, "kept_calls", "precision", "recall"
    )
