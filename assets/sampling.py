"""Sampling candidate calls (paper §2, "Sampling API Calls")."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from assets.inputs import Wanted
from assets.outputs import Made
from assets.prompts import keep_prompt
from assets.shard_asset import shard_asset
from assets.shard_stage import ShardReport, ShardStage, expected_errors, state_of
from assets.shard_texts import cut_off, documents_of, typed_frame, windows_of
from assets.stage_costs import costs_of, store_cost
from dagster_project.fingerprints import candidate_calls_fingerprint
from dagster_project.progress import ProgressCallback
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.toolbox import ToolboxResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.settings.sections import Settings
from dagster_project.wiring.annotator import Annotator
from dagster_project.wiring.toolbox import Toolbox
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.geometry import geometry_metadata
from toolformer.forward.windows import Window
from toolformer.positions import proposed_positions
from toolformer.samples import SampledCall, SamplingParameters, drop_misplaced
from toolformer.sampling import ProposedCalls, sample_shard
from toolformer.sources.manifest import Manifest
from toolformer.stage_cost import CostMeter
from tools.proposing.checked import proposals_of
from tools.protocol import Document, Preselection, Proposal, Tool
from tools.yours.plugins import parse_arguments
from warehouse.schema import ALL

if TYPE_CHECKING:
    from toolformer.forward.language_model import LanguageModel


# What the metadata of a slice, and the report, say of texts with more windows than are annotated.
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
        tool: of the slice.
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


@shard_asset(kinds={"pytorch", "duckdb"}, deps=["documents"])
def candidate_calls(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    warehouse: WarehouseResource,
    toolbox: ToolboxResource,
    language_model: LanguageModelResource,
) -> dg.MaterializeResult:
    """Calls that the language model suggests; one row = one sample, keyed by `call_id`.

    A sample that cannot be read as a call stays, with its reason. One slice per tool and round;
    which model a round is annotated by, the settings say (`sampling.annotator`).
    """
    stage = ShardStage.open(context, "candidate_calls", settings, warehouse)
    with expected_errors():
        tools = toolbox.open(stage.settings, stage.home)
        manifest = Manifest.load(stage.home.sources)
        annotator = Annotator.of(stage.settings, stage.home)
        _tell_of_no_proposals(stage, tools.tools)
        for name in tools.tools:
            prompt = tools.prompts[name]
            if prompt is not None:
                # Also where all slices are up to date: an earlier release did not store it.
                keep_prompt(stage.warehouse, prompt)

    def load_annotator() -> "LanguageModel":
        return annotator.load(language_model.holder(), stage.settings, stage.home)

    def make_shard(key: str, report: ShardReport) -> None:
        # Read once for all tools.
        texts = lru_cache(maxsize=1)(lambda _versions: documents_of(stage, key))
        source = manifest.entry(key).source
        report.slices.update(tools.unavailable)

        def wanted(tool: Tool) -> Wanted:
            documents = stage.input("documents", key, ALL)
            fingerprint = candidate_calls_fingerprint(
                documents.fingerprint,
                stage.settings,
                tool,
                tools.prompts[tool.name],
                annotator.identity,
                source=source,
            )
            return Wanted(fingerprint, (documents,))

        for name, tool in tools.tools.items():
            report.slices[name] = stage.replace_if_stale(
                key,
                stage.slice_name(name),
                partial(wanted, tool),
                partial(_sample, stage, tools, load_annotator, key, source, name, texts),
                hold_device=lambda: language_model.holder().hold_device(stage.settings, stage.home),
            )
            stored = stage.warehouse.slice_metadata(stage.table, key, stage.slice_name(name)) or {}
            report.count({CUT_OFF: int(stored.get(CUT_OFF, 0))})
        report.count({"documents": stage.rows_of("documents", key).height})
        _report_samples(stage, key, report)

    return stage.run(make_shard)


def _sample(
    stage: ShardStage,
    tools: Toolbox,
    load_annotator: Callable[[], "LanguageModel"],
    shard: str,
    source: str,
    tool_name: str,
    texts_of: Callable[[tuple[str, ...]], dict[str, Document]],
    wanted: Wanted,
) -> Made:
    texts, fingerprint = texts_of(wanted.versions), wanted.fingerprint
    tool = tools.tools[tool_name]
    slice_name = stage.slice_name(tool_name)
    shared = {"shard": shard, "tool": tool_name, "round": stage.settings.sampling.round}
    preselect = tool.preselect
    if not stage.settings.corpus.is_annotated(source, tool_name):
        preselect = _leave_out
    selection = {each.document_id: preselect(each) for each in texts.values()}
    stage.store_beside(
        "document_selection",
        shard,
        slice_name,
        typed_frame(
            "document_selection",
            [
                {**shared, "document_id": document_id, **asdict(decision)}
                for document_id, decision in selection.items()
            ],
        ),
        metadata=fingerprint.metadata(),
    )
    selected = {key: each for key, each in texts.items() if selection[key].is_selected}
    model = load_annotator()
    checkpoint = stage.checkpoint(shard, slice_name, f"{fingerprint.digest} {model.precision}")
    meter = CostMeter(model, checkpoint=checkpoint)
    windows = list(
        windows_of(
            selected,
            model.tokenizer,
            window_tokens=stage.settings.corpus.window_tokens,
            most=stage.settings.corpus.max_windows_per_text,
        )
    )
    samples = sampled_calls(
        model,
        tool,
        tools.prompts[tool_name],
        selected,
        windows,
        stage.settings,
        checkpoint=checkpoint,
        progress=stage.progress("sampling calls", detail=f"{shard}, {tool_name}"),
    )
    attention = "packed" if model.packs_rows else f"stock: {model.stock_reason}"
    candidates = sum(sample.status == "parsed" for sample in samples)
    store_cost(stage, shard, tool_name, meter.cost("sampling", candidates=candidates))
    geometry = geometry_metadata(checkpoint)
    rows = [{**asdict(sample), **shared} for sample in samples]
    return Made(
        typed_frame("candidate_calls", rows),
        {**geometry, "attention": attention, CUT_OFF: str(cut_off(selected, windows))},
        state_of(geometry),
    )


def _leave_out(_document: Document) -> Preselection:
    return Preselection(is_selected=False, reason="other_tools_for_source")


def _tell_of_no_proposals(stage: ShardStage, tools: Mapping[str, Tool]) -> None:
    kind = stage.settings.sampling.proposals
    silent = [name for name, tool in tools.items() if not tool.makes_proposals]
    if kind != "none" and silent:
        stage.context.log.info(
            f"sampling.proposals is {kind!r}, but {', '.join(silent)} have no method `proposals`: "
            "the model chooses where their calls are sampled."
        )


def _report_samples(stage: ShardStage, shard: str, report: ShardReport) -> None:
    samples = stage.rows_of("candidate_calls", shard)
    parsed = samples.filter(pl.col("status") == "parsed")
    report.count({"samples": samples.height, "candidates": parsed.height})
    report.count_reasons("dropped", samples.filter(pl.col("reason").is_not_null()))
    report.count(costs_of(stage, shard, "sampling"))
    report.preview_each_tool(parsed.select("tool", "arguments", "call_probability", "position"))
