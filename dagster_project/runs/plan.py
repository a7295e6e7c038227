"""What a build would do, and why: fingerprints of stored partitions against those due now."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property

import polars as pl

from assets.dataset.pipeline import Pipeline
from assets.dataset.stages import PIPELINE
from assets.documents import DOCUMENTS, texts_fingerprint
from assets.stage import PER_TOOL, Partition, ShardStage
from toolformer.errors import ToolformerError
from toolformer.home.fingerprints import FINGERPRINT, Fingerprint
from toolformer.home.settings.sections import Settings
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.sources.errors import ShardNotFoundError
from toolformer.sources.manifest import Manifest, ShardEntry
from warehouse.errors import DamagedPartitionError
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

# Where nothing has been measured yet.
_CHARACTERS_PER_RECORD = 3000


@dataclass(frozen=True, slots=True)
class PlannedPartition:
    """One partition that a build would make.

    Attributes:
        tokens, seconds: expected cost; 0 for stages without a model. Of what the model of a tool
            reads only the seconds.
    """

    shard: str
    table: str
    partition_name: str
    reason: str
    tokens: int = 0
    seconds: float = 0.0


def chosen_shards(
    manifest: Manifest, shards: Sequence[str], settings: Settings
) -> list[ShardEntry]:
    """The shards to annotate that were named, or else all, of which `sampling.shards` leaves few.

    A name is a key, or a range of numbers such as `0:64`: shards 0 to 63 but those held out.

    These few are the first of every source, as many of each as of the others.

    Raises:
        ShardNotFoundError: a shard was named that is not active, or a range has none.
        ToolformerError: one was named that is held out, or all are.
    """
    annotated, limit = manifest.annotated_shards, settings.sampling.shards
    if shards:
        entries = list(dict.fromkeys(entry for name in shards for entry in _named(manifest, name)))
        if held_out := [entry.key for entry in entries if entry.is_held_out]:
            raise ToolformerError(
                f"Held out, and so not annotated: {', '.join(held_out)}. Expected shards that are "
                "trained on; leave these out, or name none to build all others."
            )
        return entries
    if manifest.active_shards and not annotated:
        raise ToolformerError(
            "All shards are held out, so there is nothing to annotate. Expected one that is "
            "trained on: ingest more texts; with corpus.held_out_every at 0 none of theirs is held "
            "out."
        )
    if limit is None:
        return annotated
    counts: Counter[str] = Counter()
    numbers: dict[str, int] = {}
    for entry in annotated:
        numbers[entry.key] = counts[entry.source]
        counts[entry.source] += 1
    first = set(sorted(numbers, key=numbers.__getitem__)[:limit])
    return [entry for entry in annotated if entry.key in first]


def _named(manifest: Manifest, name: str) -> list[ShardEntry]:
    """Return the shard with this key, or the shards to annotate in a range such as `0:64`."""
    if not (bounds := re.fullmatch(r"(\d+):(\d+)", name)):
        return [manifest.entry(name)]
    numbers = range(int(bounds[1]), int(bounds[2]))
    if found := [entry for entry in manifest.annotated_shards if entry.number in numbers]:
        return found
    raise ShardNotFoundError(
        f"No shard to annotate is in {name}, which ends before shard {numbers.stop}. Expected a "
        "range with at least one shard that is not held out. Correct it; `toolformer sql "
        '"select distinct shard from documents"` lists the shards.'
    )


@dataclass
class BuildPlan:
    """Compares what is stored with what the settings ask for.

    Attributes:
        outdated_tools: tools whose index is to be built anew, so that they are other tools then.
        are_texts_coming: whether texts that are not there will be; else their shards are left out.
        coming_tools: tools whose index is missing, so that they cannot be asked for a version yet:
            what they have no rows of is planned.
        characters_per_token, tokens_per_second: asked often where nothing has been measured.
        without_texts: shards that were left out.
    """

    warehouse: Warehouse
    settings: Settings
    toolbox: Toolbox
    _: KW_ONLY
    annotator: str
    force: bool
    outdated_tools: Collection[str] = ()
    are_texts_coming: bool = True
    coming_tools: Collection[str] = ()
    characters_per_token: Callable[[], float] = lambda: 4.0
    tokens_per_second: Callable[[], float] = lambda: 1500.0
    pipeline: Pipeline = PIPELINE
    without_texts: list[ShardEntry] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.warehouse = self.warehouse.skipping_damage().snapshot(is_bounded=True)
        self._own_fingerprints: dict[tuple[str, str, str], Fingerprint] = {}

    @cached_property
    def _characters(self) -> Mapping[str, int]:
        # A plan makes nothing. Queries make the empty tables that they lack, and of all shards they
        # remember counts.
        shards = {stored.shard for stored in self.warehouse.partitions(DOCUMENTS)}
        if not shards:
            return {}
        named = None if self._is_measured else shards
        return dict(self.warehouse.ask("document_characters", shards=named).iter_rows())

    @cached_property
    def _is_measured(self) -> bool:
        return bool(self.warehouse.partitions("stage_costs"))

    @cached_property
    def _rates(self) -> Mapping[tuple[str, str], tuple[float, float]]:
        if not self._is_measured:
            return {}
        return _measured_rates(self.warehouse, self.settings.sampling.round, self.pipeline)

    def of(self, entries: Sequence[ShardEntry]) -> list[PlannedPartition]:
        """Partitions to be made for these shards, shard by shard in the order of the stages."""
        return [planned for entry in entries for planned in self._of_shard(entry)]

    def _of_shard(self, entry: ShardEntry) -> list[PlannedPartition]:
        planned: list[PlannedPartition] = []
        texts = None
        # As damaged ones they are cut again.
        with suppress(DamagedPartitionError):
            texts = self.warehouse.partition_metadata(DOCUMENTS, entry.key, ALL)
        if texts is None and not self.are_texts_coming:
            self.without_texts.append(entry)
            return planned
        # Of texts that are not there yet it is known, too, but for the rows.
        texts = texts or texts_fingerprint(entry).metadata()
        # Fingerprints that the outputs of the shard have once they are made, by table and tool.
        made = {(DOCUMENTS, ALL): texts[FINGERPRINT]}
        for stage in self.pipeline:
            for name in self.coming_tools if stage.per == PER_TOOL else ():
                partition_name = stage.output_name(name, self.settings.sampling.round)
                if not self.warehouse.partition_metadata(stage.name, entry.key, partition_name):
                    cost = self._expected_cost(stage, name, entry)
                    planned.append(
                        PlannedPartition(entry.key, stage.name, partition_name, "missing", *cost)
                    )
            for partition in stage.partitions(self.settings, entry, self.toolbox, self.annotator):
                name = partition.tool_name
                before = self.pipeline.of_round_before(stage, partition, self.warehouse)
                inputs = {
                    **self._of_other_tools(stage, partition),
                    **{address: stored.fingerprint for address, stored in before.items()},
                    **made,
                }
                parts = self.pipeline.input_parts(stage, partition, inputs)
                if stage.reads_indexes and name in self.outdated_tools:
                    parts["tool_version"] = "with the index to come"
                fingerprint = self._own_fingerprint(stage, partition).with_parts(parts)
                partition_name = stage.output_name(name, self.settings.sampling.round)
                address = stage.name, entry.key, partition_name
                stored = self.warehouse.partition_metadata(*address)
                reason = "forced" if self.force else fingerprint.difference(stored)
                if reason is None and stored is not None:
                    # What the stages behind it will read.
                    made[stage.name, name] = stored[FINGERPRINT]
                    continue
                made[stage.name, name] = fingerprint.digest
                tokens, seconds = self._expected_cost(stage, name, entry)
                planned.append(
                    PlannedPartition(
                        entry.key, stage.name, partition_name, str(reason), tokens, seconds
                    )
                )
        return planned

    def _own_fingerprint(self, stage: ShardStage, partition: Partition) -> Fingerprint:
        address = stage.name, partition.tool_name, partition.entry.source
        if address not in self._own_fingerprints:
            self._own_fingerprints[address] = stage.own_fingerprint(partition)
        return self._own_fingerprints[address]

    def _of_other_tools(
        self, stage: ShardStage, partition: Partition
    ) -> dict[tuple[str, str], str]:
        """Rows of tools that this build does not touch: they are merged all the same."""
        if not self.pipeline.is_merging(stage):
            return {}
        merged, _ = self.pipeline.merged(
            stage, partition, self.warehouse, besides=self.toolbox.tools.keys()
        )
        return {
            (stored.table, name): stored.fingerprint
            for name, partitions in merged.items()
            for stored in partitions
        }

    def _expected_cost(self, stage: ShardStage, tool: str, entry: ShardEntry) -> tuple[int, float]:
        if not (stage.passes and self.settings.is_annotated(entry.source, tool)):
            return 0, 0.0
        characters = self._characters.get(entry.key, entry.records * _CHARACTERS_PER_RECORD)
        if (tool, stage.name) in self._rates:
            tokens_per_character, seconds_per_character = self._rates[tool, stage.name]
            return int(tokens_per_character * characters), seconds_per_character * characters
        tokens_of_tool = stage.tokens_of_tool if tool in self.toolbox.on_device else 0
        if not (stage.uses_annotator or tokens_of_tool):
            return 0, 0.0
        corpus, tool_settings = self.settings.corpus, self.settings.tools.of(tool)
        text_tokens = int(characters / self.characters_per_token())
        # Each text has at least one, and none more than this.
        windows = max(entry.records, text_tokens // corpus.window_tokens)
        windows = min(windows, entry.records * corpus.max_windows_per_text)
        samples = windows * tool_settings.positions_per_text * tool_settings.calls_per_position
        tokens_of_text, tokens_of_sample = stage.tokens_fed
        tokens = min(text_tokens, windows * corpus.window_tokens) * tokens_of_text
        tokens += samples * tokens_of_sample
        # Only seconds are counted of what a tool's own model reads.
        return tokens, (tokens + samples * tokens_of_tool) / self.tokens_per_second()


def _measured_rates(
    warehouse: Warehouse, round_number: int, pipeline: Pipeline
) -> Mapping[tuple[str, str], tuple[float, float]]:
    """Tokens and seconds per character of text, by tool and table, from past shards.

    Those of the round where there are any (without the prompt a round feeds far less), else those
    of all others.
    """
    costs = warehouse.ask("tokens_fed", round=round_number)
    characters = warehouse.ask("document_characters")
    tables = {name: stage.name for stage in pipeline for name in stage.passes}
    measured = (
        costs.filter(pl.col("stage").is_in(list(tables)))
        .group_by(
            "shard", "tool", pl.col("stage").replace_strict(tables).alias("table"), "is_of_round"
        )
        .agg(pl.col("tokens_fed", "seconds").sum())
        .join(characters, on="shard")
        .group_by("tool", "table", "is_of_round")
        .agg(pl.col("tokens_fed", "seconds", "characters").sum())
        .filter(pl.col("characters") > 0)
        # Those of the round come last, and so take the place of the others below.
        .sort("is_of_round")
    )
    return {
        (row["tool"], row["table"]): (
            row["tokens_fed"] / row["characters"],
            row["seconds"] / row["characters"],
        )
        for row in measured.iter_rows(named=True)
    }
