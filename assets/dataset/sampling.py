"""Samples candidate calls (paper §2, "Sampling API Calls")."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial

import polars as pl

from assets.dataset.shard_run import PartitionRun, ShardRun
from assets.outputs import OutputRows
from assets.shard_report import ShardReport, ShardRows, state_of
from assets.shard_texts import (
    count_truncated,
    documents_in,
    first_calls_in,
    typed_frame,
    windows_of,
)
from assets.stage import (
    ANNOTATOR,
    PER_TOOL,
    PRECISION,
    PROMPT,
    FingerprintPart,
    Partition,
    ShardStage,
    always,
)
from toolformer.augmentation import KeptCall
from toolformer.base.digests import hex_digest
from toolformer.chained_calls import FirstCalls
from toolformer.errors import ToolformerError
from toolformer.forward.batching import geometry_metadata
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window, WindowKey
from toolformer.positions import proposed_positions
from toolformer.samples import drop_misplaced, drop_repeated_demonstrations
from toolformer.sampling import ProposedCalls, check_context, sample_shard
from toolformer.stage_cost import CostMeter
from tools.base import Tool, proposals_of
from tools.plugins.plugins import parse_arguments
from tools.protocol import Document, Preselection, Proposal
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

# Keys of stored metadata, and labels in the report.
CUT_OFF = "texts cut off at corpus.max_windows_per_text"
INSIDE_LETTERS = "tokens that begin inside a letter, where no call can stand"


# Cuts the text with this id into windows.
CutText = Callable[[str, Tokenizer], Sequence[Window]]


def texts_and_windows(run: ShardRun, shard: str) -> tuple[Mapping[str, Document], CutText]:
    """Return texts by id, and a function that cuts each into windows once for all tools."""
    texts, corpus = documents_in(run.warehouse, shard), run.settings.corpus

    @cache
    def cut_text(document_id: str, tokenizer: Tokenizer) -> Sequence[Window]:
        windows = windows_of(
            {document_id: texts[document_id]},
            tokenizer,
            window_tokens=corpus.window_tokens,
            max_windows=corpus.max_windows_per_text,
        )
        return tuple(windows)

    return texts, cut_text


def sample_calls(work: PartitionRun) -> OutputRows:
    """Candidate calls, sampled or proposed by the tool; one row = one sample, by `call_id`.

    A sample that is not a valid call is kept with the reason. There is one partition per tool and
    round. The setting `sampling.annotator` names the model that annotates a round.
    """
    partition, settings = work.partition, work.settings
    texts, cut_text = work.shared
    first_calls = first_calls_in(work.run.warehouse, partition.shard, settings)
    with_calls = (
        {document_id for document_id, _ in first_calls} if settings.sampling.is_chained else texts
    )
    selection = {
        key: _preselection(partition, document) if key in with_calls else _WITHOUT_FIRST_CALL
        for key, document in texts.items()
    }
    selected = {key: document for key, document in texts.items() if selection[key].is_selected}
    if partition.prompt is not None:
        keep_prompt(work.run.warehouse, partition.prompt)
    model = work.run.load_annotator()
    checkpoint = work.checkpoint(model.precision)
    meter = CostMeter(model, checkpoint=checkpoint)
    cut: list[Window] = [window for key in selected for window in cut_text(key, model.tokenizer)]
    windows, inserted = cut, FirstCalls(first_calls, model.tokenizer)
    if settings.sampling.is_chained:
        offered = [window for window in cut if window.key in first_calls]
        _check_windows(offered, first_calls, work.read("augmented_texts"))
        windows = list(inserted.insert(offered))
    tool, prompt, tokenizer = partition.tool, partition.prompt, model.tokenizer
    check_context(tool.name, prompt, tokenizer, settings, context_length=model.context_length)
    samples = sample_shard(
        model,
        prompt,
        windows,
        tool_name=tool.name,
        takes_arguments=tool.takes_arguments,
        parse_arguments=partial(parse_arguments, tool),
        tool=settings.tools.of(tool.name),
        sampling=settings.sampling,
        window_tokens=settings.corpus.window_tokens,
        checkpoint=checkpoint,
        progress=work.progress("sampling calls"),
        proposed=proposed_calls(tool, selected, windows, settings.sampling.proposals),
    )
    titles = {key: document.title for key, document in selected.items()}
    samples = drop_repeated_demonstrations(samples, windows, prompt, titles)
    samples = drop_misplaced(samples, windows, tool.check_position)
    geometry = geometry_metadata(checkpoint)
    inside_letters = sum(window.offsets.count(None) for window in cut)
    candidates = sum(sample.status == "parsed" for sample in samples)
    rows = [
        {
            **asdict(sample),
            "position": inserted.position_in_text(
                (sample.document_id, sample.window_index), sample.position
            ),
            **work.keys,
        }
        for sample in samples
    ]
    return OutputRows(
        typed_frame("candidate_calls", rows),
        {
            **geometry,
            CUT_OFF: str(count_truncated(selected, cut)),
            INSIDE_LETTERS: str(inside_letters),
        },
        _state(partition, geometry),
        side_tables={
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


def proposed_calls(
    tool: Tool, documents: Mapping[str, Document], windows: Sequence[Window], kind: str
) -> list[ProposedCalls] | None:
    """Return the tool's proposals per window; None if p_i alone chooses the positions.

    `kind` is `sampling.proposals`. Raises ToolBugError if a proposal lies outside its text.
    """
    if kind == "none" or not tool.makes_proposals:
        return None
    proposals = {key: proposals_of(tool, document) for key, document in documents.items()}
    if kind == "positions":
        proposals = {
            key: [Proposal(proposal.offset) for proposal in tool_proposals]
            for key, tool_proposals in proposals.items()
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


def _check_windows(
    windows: Sequence[Window], first_calls: Mapping[WindowKey, KeptCall], before: pl.DataFrame
) -> None:
    """Raise if a window differs from the one in which the previous round found its first call."""
    columns = before.select("document_id", "window_index", "text").iter_rows()
    texts = {(document_id, index): text for document_id, index, text in columns}
    for window in windows:
        call = first_calls[window.key]
        offset = window.offsets[call.position : call.position + 1]
        if window.text != texts[window.key] or offset != (call.character_offset,):
            raise ToolformerError(
                f"Window {window.index} of document {window.document_id} differs from the window "
                "that the previous round annotated, so its call would be misplaced. Expected the "
                "same corpus.window_tokens and base model in both rounds. Restore these settings, "
                "or build the previous round again."
            )


def keep_prompt(warehouse: Warehouse, prompt: str) -> None:
    """Store a prompt under its digest, since fingerprints name only that and its file may change.

    Two runs may store the same prompt at once, because their rows are equal.
    """
    digest = hex_digest(prompt)
    if warehouse.partition_version("prompts", ALL, digest) is None:
        rows = pl.DataFrame([{"digest": digest, "text": prompt}])
        warehouse.replace_partition("prompts", ALL, digest, rows, metadata={})


def report_samples(rows: ShardRows, report: ShardReport) -> None:
    samples = rows.of("candidate_calls")
    parsed = samples.filter(pl.col("status") == "parsed")
    texts = rows.warehouse.entries(["documents"], rows.entry.key)
    report.count_flow(
        {
            "texts in": sum(entry.rows for _, entry in texts),
            "samples": samples.height,
            "candidates": parsed.height,
            "dropped": samples.height - parsed.height,
        }
    )
    report.count(
        {name: rows.metadata_sum("candidate_calls", name) for name in (CUT_OFF, INSIDE_LETTERS)}
    )
    report.count_reasons("dropped", samples.filter(pl.col("reason").is_not_null()))
    report.preview_each_tool(
        parsed.select("tool", "arguments", "proposed", "call_probability", "position")
    )


# A chained round samples only in texts that have a call already.
_WITHOUT_FIRST_CALL = Preselection(is_selected=False, reason="no_call_in_round_before")


def _is_annotated(partition: Partition) -> bool:
    return partition.settings.is_annotated(partition.entry.source, partition.tool_name)


def _preselection(partition: Partition, document: Document) -> Preselection:
    if not _is_annotated(partition):
        return Preselection(is_selected=False, reason="left_to_other_tools")
    return partition.tool.preselect(document)


def _proposals(partition: Partition) -> object:
    """Identify what proposes positions or calls; None if p_i alone chooses positions."""
    kind, tool = partition.settings.sampling.proposals, partition.tool
    if kind == "none" or not tool.makes_proposals:
        return None
    return [kind, tool.proposals_version or tool.version]


def _sampling_version(partition: Partition) -> str:
    """Return the tool's version without parts that affect only answers, such as an index."""
    return partition.tool.sampling_version or partition.tool.version


def _state(partition: Partition, geometry: Mapping[str, str]) -> str:
    state, kind = state_of(geometry), partition.settings.sampling.proposals
    if kind == "none" or partition.tool.makes_proposals:
        return state
    return (
        f"{state}; sampling.proposals is {kind!r}, but the tool has no method `proposals`, so the "
        "model chose the positions"
    )


CANDIDATE_CALLS = ShardStage(
    name="candidate_calls",
    version="7",
    kinds=("pytorch", "duckdb"),
    per=PER_TOOL,
    reads=("documents",),
    reads_previous_round=("augmented_texts",),
    side_tables=("document_selection",),
    parts=(
        ANNOTATOR,
        PRECISION,
        PROMPT,
        FingerprintPart("tool_version", ("tools.*.options", "tools.*.class"), _sampling_version),
        FingerprintPart("proposals", ("sampling.proposals",), _proposals),
        FingerprintPart("is_annotated", ("corpus.sources", "sampling.tools"), _is_annotated),
    ),
    settings=(
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
    ),
    passes=("sampling",),
    tokens_fed=(2, 12),
    prepare_shard=texts_and_windows,
    compute=sample_calls,
    report=report_samples,
    needs_device=always,
)
