"""Sampling candidate calls (paper §2, "Sampling API Calls")."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from assets.outputs import Made
from assets.prompts import keep_prompt
from assets.shard_report import ShardReport, ShardRows, state_of
from assets.shard_run import PartitionRun, ShardRun
from assets.shard_texts import cut_off, documents_in, typed_frame, windows_of
from assets.stage import (
    ANNOTATOR,
    PER_TOOL,
    PROMPT,
    Part,
    Partition,
    ShardStage,
    always,
)
from dagster_project.progress import ProgressCallback
from dagster_project.settings.sections import Settings
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.geometry import geometry_metadata
from toolformer.forward.windows import Window
from toolformer.positions import proposed_positions
from toolformer.samples import SampledCall, SamplingParameters, drop_misplaced
from toolformer.sampling import ProposedCalls, sample_shard
from toolformer.stage_cost import CostMeter
from tools.proposing.checked import proposals_of
from tools.protocol import Document, Preselection, Proposal, Tool
from tools.yours.plugins import parse_arguments

if TYPE_CHECKING:
    from toolformer.forward.language_model import LanguageModel

# What the metadata of an output, and the report, say of texts with more windows than are annotated.
CUT_OFF = "texts cut off at corpus.max_windows_per_text"


def sampling_parameters(settings: Settings, tool_name: str) -> SamplingParameters:
    """What the engine is told about sampling calls of one tool."""
    tool = settings.tools.of(tool_name)
    return SamplingParameters(
        sampling_threshold=tool.sampling_threshold,
        positions_per_text=tool.positions_per_text,
        calls_per_position=tool.calls_per_position,
        max_new_tokens=settings.sampling.max_new_tokens,
        temperature=settings.sampling.temperature,
        seed=settings.sampling.seed,
        is_constrained=settings.sampling.is_constrained,
        round=settings.sampling.round,
    )


def proposed_calls(
    tool: Tool, documents: Mapping[str, Document], windows: Sequence[Window], kind: str
) -> list[ProposedCalls] | None:
    """What the tool proposes in each window; None where p_i alone chooses the positions.

    Args:
        tool: whose calls.
        documents: the selected ones by id.
        windows: of these documents.
        kind: `sampling.proposals`.

    Raises:
        ToolBugError: a proposal lies outside its text.
    """
    if kind == "none" or not tool.makes_proposals:
        return None
    proposals = {key: proposals_of(tool, each) for key, each in documents.items()}
    if kind == "positions":
        proposals = {
            key: [Proposal(each.offset) for each in of_text] for key, of_text in proposals.items()
        }
    return [
        proposed_positions(
            proposals[window.document_id],
            start=window.start,
            text=window.text,
            offsets=window.offsets,
        )
        for window in windows
    ]


def sampled_calls(
    model: "LanguageModel",
    tool: Tool,
    prompt: str | None,
    documents: Mapping[str, Document],
    windows: Sequence[Window],
    settings: Settings,
    *,
    checkpoint: Checkpoint,
    progress: ProgressCallback,
) -> list[SampledCall]:
    """Sample the calls of one tool as the settings say.

    Args:
        model: the annotating model.
        tool: whose calls.
        prompt: its few-shot prompt; None to leave it out.
        documents: by id; the tool preselected them.
        windows: of these documents.
        settings: of the run.
        checkpoint: keeps finished batches.
        progress: told windows done and windows in all.
    """
    samples = sample_shard(
        model,
        prompt,
        windows,
        tool_name=tool.name,
        takes_arguments=tool.takes_arguments,
        parse_arguments=partial(parse_arguments, tool),
        parameters=sampling_parameters(settings, tool.name),
        windows_per_batch=settings.sampling.windows_per_batch,
        token_budget=settings.scoring.token_budget,
        window_tokens=settings.corpus.window_tokens,
        checkpoint=checkpoint,
        progress=progress,
        proposed=proposed_calls(tool, documents, windows, settings.sampling.proposals),
    )
    return drop_misplaced(samples, windows, tool.check_place)


def texts_of_shard(run: ShardRun, shard: str) -> dict[str, Document]:
    """The texts of a shard by id."""
    return documents_in(run.warehouse, shard)


def sample_calls(work: PartitionRun) -> Made:
    """Calls that the language model suggests; one row = one sample, keyed by `call_id`.

    A sample that cannot be read as a call stays, with its reason. One slice per tool and round;
    which model a round is annotated by, the settings say (`sampling.annotator`).
    """
    partition, settings = work.partition, work.settings
    texts: Mapping[str, Document] = work.shared
    selection = {key: _preselection(partition, each) for key, each in texts.items()}
    selected = {key: each for key, each in texts.items() if selection[key].is_selected}
    if partition.prompt is not None:
        keep_prompt(work.run.warehouse, partition.prompt)
    model = work.run.load_annotator()
    checkpoint = work.checkpoint(model.precision)
    meter = CostMeter(model, checkpoint=checkpoint)
    windows = list(
        windows_of(
            selected,
            model.tokenizer,
            window_tokens=settings.corpus.window_tokens,
            most=settings.corpus.max_windows_per_text,
        )
    )
    samples = sampled_calls(
        model,
        partition.tool,
        partition.prompt,
        selected,
        windows,
        settings,
        checkpoint=checkpoint,
        progress=work.progress("sampling calls"),
    )
    geometry = geometry_metadata(checkpoint)
    attention = "packed" if model.packs_rows else f"stock: {model.stock_reason}"
    candidates = sum(sample.status == "parsed" for sample in samples)
    return Made(
        typed_frame("candidate_calls", [{**asdict(sample), **work.keys} for sample in samples]),
        {**geometry, "attention": attention, CUT_OFF: str(cut_off(selected, windows))},
        _state(partition, geometry),
        beside={
            "document_selection": typed_frame(
                "document_selection",
                [
                    {**work.keys, "document_id": document_id, **asdict(decision)}
                    for document_id, decision in selection.items()
                ],
            )
        },
        costs=[meter.cost("sampling", candidates=candidates)],
    )


def report_samples(rows: ShardRows, report: ShardReport) -> None:
    """How many samples of a shard can be read as calls, and why others cannot."""
    samples = rows.of("candidate_calls")
    parsed = samples.filter(pl.col("status") == "parsed")
    report.count({CUT_OFF: rows.metadata_sum("candidate_calls", CUT_OFF)})
    report.count({"documents": rows.of("documents").height})
    report.count({"samples": samples.height, "candidates": parsed.height})
    report.count_reasons("dropped", samples.filter(pl.col("reason").is_not_null()))
    report.count(rows.costs("sampling"))
    report.preview_each_tool(parsed.select("tool", "arguments", "call_probability", "position"))


def _is_annotated(partition: Partition) -> bool:
    return partition.settings.corpus.is_annotated(partition.entry.source, partition.tool_name)


def _preselection(partition: Partition, document: Document) -> Preselection:
    if not _is_annotated(partition):
        return Preselection(is_selected=False, reason="other_tools_for_source")
    return partition.tool.preselect(document)


def _proposals(partition: Partition) -> object:
    """What proposes positions or calls; None where p_i alone chooses them."""
    kind, tool = partition.settings.sampling.proposals, partition.tool
    if kind == "none" or not tool.makes_proposals:
        return None
    return [kind, getattr(tool, "proposals_version", tool.version)]


def _sampling_version(partition: Partition) -> str:
    """What preselection and parsing depend on; an index, which only changes answers, does not."""
    return getattr(partition.tool, "sampling_version", partition.tool.version)


def _state(partition: Partition, geometry: Mapping[str, str]) -> str:
    """How the output was made, and that its tool proposes nothing where the settings ask for it."""
    state, kind = state_of(geometry), partition.settings.sampling.proposals
    if kind == "none" or partition.tool.makes_proposals:
        return state
    return (
        f"{state}; sampling.proposals is {kind!r}, but the tool has no method `proposals`: the "
        "model chose where its calls were sampled"
    )


CANDIDATE_CALLS = ShardStage(
    name="candidate_calls",
    version="3",
    kinds=("pytorch", "duckdb"),
    per=PER_TOOL,
    reads=("documents",),
    parts=(
        ANNOTATOR,
        PROMPT,
        Part("tool_version", _sampling_version, ("tools.*.options", "tools.*.class")),
        Part("proposals", _proposals, ("sampling.proposals",)),
        Part("is_annotated", _is_annotated, ("corpus.sources",)),
    ),
    settings=(
        "language_model.precision",
        "corpus.window_tokens",
        "corpus.max_windows_per_text",
        "tools.*.sampling_threshold",
        "tools.*.positions_per_text",
        "tools.*.calls_per_position",
        "sampling.max_new_tokens",
        "sampling.temperature",
        "sampling.seed",
        "sampling.is_constrained",
        "sampling.windows_per_batch",
        "sampling.round",
        "scoring.token_budget",
    ),
    share=texts_of_shard,
    compute=sample_calls,
    report=report_samples,
    needs_device=always,
    rule=("A call_id of candidate_calls belongs to one row", "duplicate_calls"),
)
