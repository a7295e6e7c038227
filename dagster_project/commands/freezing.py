"""`toolformer tools freeze`: the answers of a build's tools as one file, to replay them from.

Does not parse the command line, and does not know the form of the file:
`tools.running.frozen_answers` does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from assets.inputs import NoCallsError, Wanted, look_at
from assets.pipeline import PIPELINE
from assets.shard_texts import documents_in
from assets.stage import Partition
from dagster_project.commands import console
from dagster_project.commands.export_target import checked_target, refusals_told
from dagster_project.commands.options import RunOptions
from dagster_project.home import Home
from dagster_project.runs.chosen_shards import chosen_shards
from dagster_project.settings.sections import Settings, merged
from dagster_project.wiring.replay import settings_of_answers
from dagster_project.wiring.toolbox import Toolbox, open_tool, open_toolbox
from dagster_project.wiring.warehouse import open_warehouse
from toolformer.errors import ExportError
from toolformer.ground.whole_files import replacing
from toolformer.sources.manifest import Manifest, ShardEntry
from tools.protocol import Tool
from tools.registry import is_plugin
from tools.running.deadlines import GIVEN_UP
from tools.running.frozen_answers import FrozenRecord, document_digest, write_frozen_answers
from warehouse.layout import name_in_round, split_round
from warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

# Calls that were never made stay as they are: the replay makes the same slices, out of date at
# once as these are.
_AS_GOOD_AS_FINISHED = (None, "changed: given up calls")
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class _Round:
    """A round of annotation of a home.

    Attributes:
        number, settings, toolbox: of the round.
        shards: that a build of it annotates.
    """

    number: int
    settings: Settings
    toolbox: Toolbox
    shards: list[ShardEntry]


@dataclass(frozen=True, slots=True)
class _Slice:
    """Answers of a tool in a shard.

    Attributes:
        round, tool, entry: of which round, tool and shard.
        wanted: what they are made of.
    """

    round: _Round
    tool: Tool
    entry: ShardEntry
    wanted: Wanted


def freeze_answers(options: RunOptions, output: Path, *, is_forced: bool) -> None:
    """Write the answers of all rounds of a build, whole or not at all, and count them.

    Raises:
        ExportError: there is nothing to freeze, the build is not finished, a tool cannot be opened,
            or there is no place for the file.
        InputChangedError: another run made slices anew meanwhile.
    """
    home = Home.find()
    target = checked_target(output, home, is_forced=is_forced)
    warehouse = open_warehouse(home)
    rounds = [
        _round(options, home, warehouse, number)
        for number in sorted(
            {split_round(info.name)[0] for info in warehouse.slices("executed_calls")}
        )
    ]
    slices = [each for of_round in rounds for each in _slices(warehouse, of_round)]
    if not slices:
        raise ExportError(
            "There are no tool answers yet. Run `toolformer build` first, or set TOOLFORMER_HOME "
            "to a home that was built."
        )
    records = [_record(each, tool, home) for each in rounds for tool in each.toolbox.tools.values()]
    counts: list[pl.DataFrame] = []
    with refusals_told(output), replacing(target) as temporary:
        write_frozen_answers(temporary, records, _tables(warehouse, slices, counts))
    _tell(pl.concat(counts), rounds, warehouse)
    console.say(f"Written to {output}. --set execution.replay={output} answers from it alone.")


def _round(options: RunOptions, home: Home, warehouse: Warehouse, number: int) -> _Round:
    of_round = merged(options.overrides, {"sampling": {"round": number}})
    settings = RunOptions(options.preset, of_round).load_settings(home)
    if settings.execution.replay is not None:
        raise ExportError(
            f"execution.replay is {settings.execution.replay!r}: the answers come from that file. "
            "Copy it, or take execution.replay out of the settings to freeze a build of the tools."
        )
    toolbox = open_toolbox(settings, home)
    answered = _tools_with_answers(warehouse, number)
    for name, why in toolbox.unavailable.items():
        if name in answered:
            raise ExportError(
                f"{name} has answers in round {number}, and what a replay needs to know of it "
                f"cannot be asked: {why} Freeze while it can run, or leave it out with "
                f"--set tools.{name}.is_enabled=false."
            )
    chosen = chosen_shards(Manifest.load(home.sources), (), settings)
    return _Round(number, settings, toolbox, chosen.annotated)


def _slices(warehouse: Warehouse, of_round: _Round) -> list[_Slice]:
    """The slices of a round with answers.

    Raises:
        ExportError: a slice is missing or out of date.
    """
    found: list[_Slice] = []
    unfinished: list[str] = []
    for entry in of_round.shards:
        for name, tool in of_round.toolbox.tools.items():
            wanted = _wanted(warehouse, of_round, entry, tool)
            if wanted is None:
                continue
            slice_name = name_in_round(of_round.number, name)
            stored = warehouse.slice_metadata("executed_calls", entry.key, slice_name)
            why = wanted.fingerprint.difference(stored)
            if why in _AS_GOOD_AS_FINISHED:
                found.append(_Slice(of_round, tool, entry, wanted))
            else:
                unfinished.append(f"{slice_name} of {entry.key} ({why})")
    if unfinished:
        raise ExportError(
            f"{len(unfinished)} slices have calls without an answer of today's tools: "
            f"{', '.join(unfinished[:_MOST_NAMED])}"
            f"{', …' if len(unfinished) > _MOST_NAMED else ''}. Run `toolformer build` with the "
            "same settings first."
        )
    return found


def _wanted(warehouse: Warehouse, of_round: _Round, entry: ShardEntry, tool: Tool) -> Wanted | None:
    """The answers of a tool in a shard as they would be made; None where none is sampled."""
    stage = PIPELINE["executed_calls"]
    partition = Partition(of_round.settings, entry, of_round.toolbox, tool_name=tool.name)
    try:
        wanted = PIPELINE.wanted(stage, partition, warehouse)
    except NoCallsError:
        return None
    name = stage.output_name(tool.name, of_round.number)
    executed = look_at(warehouse, stage.name, entry.key, name)
    return wanted if executed is None else replace(wanted, inputs=(executed, *wanted.inputs))


def _record(of_round: _Round, tool: Tool, home: Home) -> FrozenRecord:
    settings, version = of_round.settings, tool.version
    own_prompt = tool.prompt if is_plugin(tool.name) else None
    return FrozenRecord(
        name=tool.name,
        round=of_round.number,
        version=version,
        version_while_decoding=version
        if is_plugin(tool.name)
        else open_tool(settings, home, tool.name, while_decoding=True).version,
        sampling_version=getattr(tool, "sampling_version", version),
        proposals_version=getattr(tool, "proposals_version", version),
        makes_proposals=tool.makes_proposals,
        takes_arguments=tool.takes_arguments,
        description=tool.description,
        prompt=own_prompt if isinstance(own_prompt, str) else None,
        parameters=getattr(tool, "frozen_parameters", None),
        settings=settings_of_answers(settings, tool.name),
    )


def _tables(
    warehouse: Warehouse, slices: list[_Slice], counts: list[pl.DataFrame]
) -> Iterator["pa.Table"]:
    """The rows slice by slice; what they come to is added to `counts`."""
    texts: tuple[str, dict[str, str]] = ("", {})
    for each in slices:
        if texts[0] != each.entry.key:
            documents = documents_in(warehouse, each.entry.key)
            texts = (
                each.entry.key,
                {key: document_digest(document) for key, document in documents.items()},
            )
        rows = _rows(warehouse, each, texts[1])
        counts.append(
            rows.group_by("tool", "round").agg(
                pl.len().alias("answers"),
                pl.col("result").count().alias("results"),
                pl.col("reason").count().alias("failures"),
                (pl.col("reason") == GIVEN_UP).sum().alias("not made"),
            )
        )
        yield rows.to_arrow()


def _rows(warehouse: Warehouse, each: _Slice, digests: dict[str, str]) -> pl.DataFrame:
    slice_name = name_in_round(each.round.number, each.tool.name)
    executed = warehouse.read_slice("executed_calls", each.entry.key, slice_name)
    candidates = warehouse.read_slice("candidate_calls", each.entry.key, slice_name)
    # Rows of one version beside those of another would pair calls with others' answers.
    each.wanted.check_agreement()
    now = _wanted(warehouse, each.round, each.entry, each.tool)
    each.wanted.check_unchanged(now or Wanted(each.wanted.fingerprint))
    places = candidates.select(
        "call_id", "arguments", "character_offset", document=pl.col("document_id").replace(digests)
    )
    calls = executed.join(places, on="call_id", how="inner", maintain_order="left")
    # Samples that wrote the same call at one place have one answer.
    return calls.sort("result", nulls_last=True, maintain_order=True).unique(
        ["arguments", "document", "character_offset"], keep="first", maintain_order=True
    )


def _tools_with_answers(warehouse: Warehouse, number: int) -> set[str]:
    named = (split_round(info.name) for info in warehouse.slices("executed_calls"))
    return {name for of_round, name in named if of_round == number}


def _tell(counts: pl.DataFrame, rounds: list[_Round], warehouse: Warehouse) -> None:
    told = counts.group_by("tool", "round").sum().sort("round", "tool")
    console.frame(told)
    for each in rounds:
        left_out = _tools_with_answers(warehouse, each.number) - each.toolbox.tools.keys()
        if left_out:
            console.say(
                f"Left out of round {each.number}: {', '.join(sorted(left_out))}, which a build "
                "with these settings does not use."
            )
    not_made = told["not made"].sum()
    if not_made:
        console.say(
            f"{not_made} calls were given up and have no answer; a replay leaves them without one."
        )
