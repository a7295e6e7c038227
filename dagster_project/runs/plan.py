"""Determines which partitions a build has to make, and the reason for each.

A partition is planned if its stored fingerprint differs from the one that a build would store now.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from itertools import count

from assets.dataset.stages import PIPELINE
from assets.documents import DOCUMENTS, texts_fingerprint
from assets.stage import PER_TOOL, Partition, ShardStage
from toolformer.errors import ToolformerError
from toolformer.home.fingerprints import FINGERPRINT, MISSING, Fingerprint
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.settings.sections import Settings
from toolformer.sources.errors import ShardNotFoundError
from toolformer.sources.manifest import Manifest, ShardEntry
from warehouse.errors import DamagedPartitionError
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

# Estimates for English text, used until the home has recorded figures of its own.
_CHARACTERS_PER_RECORD, _CHARACTERS_PER_TOKEN = 3000, 4.0


@dataclass(frozen=True, slots=True)
class PlannedPartition:
    """A partition to make.

    `tokens` counts what the annotating model reads. `seconds` is None until the home has recorded
    costs.
    """

    shard: str
    table: str
    partition_name: str
    reason: str
    tokens: int = 0
    seconds: float | None = None


def chosen_shards(
    manifest: Manifest, shards: Sequence[str], settings: Settings
) -> list[ShardEntry]:
    """Return the named shards or, without names, up to `sampling.shards` shards to annotate.

    A name is a key or a range of numbers: `0:64` stands for shards 0 to 63 except held-out ones.
    Up to the limit, shards are taken from each source in turn, starting with its first shard.
    """
    annotated, limit = manifest.annotated_shards, settings.sampling.shards
    if shards:
        entries = list(dict.fromkeys(entry for name in shards for entry in _named(manifest, name)))
        if held_out := [entry.key for entry in entries if entry.is_held_out]:
            raise ToolformerError(
                f"These shards are held out, so they are not annotated: {', '.join(held_out)}. "
                "Expected shards to train on. Leave these out, or name no shards to build all "
                "others."
            )
        return entries
    if manifest.active_shards and not annotated:
        raise ToolformerError(
            "All shards are held out, so there is nothing to annotate. Expected at least one shard "
            "to train on. Ingest more texts, or set corpus.held_out_every to 0 before you ingest "
            "them, so that none of their shards is held out."
        )
    if limit is None:
        return annotated
    counts = defaultdict[str, Iterator[int]](count)
    numbers = {entry.key: next(counts[entry.source]) for entry in annotated}
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
        f"The range {name}, which ends before shard {numbers.stop}, has no shard to annotate. "
        "Expected at least one shard that is not held out. Correct the range; `toolformer sql "
        '"select distinct shard from documents"` lists the shards.'
    )


@dataclass
class BuildPlan:
    """Compares stored partitions with what the settings require.

    Attributes:
        tools_with_stale_index: their index will be rebuilt first, which changes their version.
        plans_missing_texts: if False, shards without texts are skipped; see `shards_without_texts`.
        tools_without_index: their version is unknown, so only missing partitions are planned.
    """

    warehouse: Warehouse
    settings: Settings
    toolbox: Toolbox
    _: KW_ONLY
    annotator: str
    force: bool
    tools_with_stale_index: Collection[str] = ()
    plans_missing_texts: bool = True
    tools_without_index: Collection[str] = ()
    shards_without_texts: list[ShardEntry] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.warehouse = self.warehouse.skipping_damage().snapshot(has_bounded_cache=True)
        self._own_fingerprints: dict[tuple[str, str, str], Fingerprint] = {}

    @cached_property
    def _characters(self) -> Mapping[str, int]:
        return dict(self.warehouse.ask("document_characters").iter_rows())

    @cached_property
    def _rates(self) -> Mapping[tuple[str, str], Sequence[float]]:
        passes, tables = zip(
            *((name, stage.name) for stage in PIPELINE for name in stage.passes), strict=True
        )
        of_round = {"round": self.settings.sampling.round, "passes": passes, "tables": tables}
        rows = self.warehouse.ask("measured_rates", **of_round).iter_rows()
        return {(tool, table): rates for tool, table, *rates in rows}

    def of(self, entries: Sequence[ShardEntry]) -> list[PlannedPartition]:
        """Return the partitions to make, by shard and then in the order of the stages."""
        return [planned for entry in entries for planned in self._of_shard(entry)]

    def _of_shard(self, entry: ShardEntry) -> list[PlannedPartition]:
        planned: list[PlannedPartition] = []

        def add(stage: ShardStage, tool: str, reason: str) -> None:
            name = stage.output_name(tool, self.settings.sampling.round)
            cost = self._expected_cost(stage, tool, entry)
            planned.append(PlannedPartition(entry.key, stage.name, name, reason, *cost))

        def stored(stage: ShardStage, tool: str) -> Mapping[str, str] | None:
            name = stage.output_name(tool, self.settings.sampling.round)
            return self.warehouse.partition_metadata(stage.name, entry.key, name)

        texts = None
        # Treat a damaged partition of texts as missing: the build makes it again from the source.
        with suppress(DamagedPartitionError):
            texts = self.warehouse.partition_metadata(DOCUMENTS, entry.key, ALL)
        if texts is None and not self.plans_missing_texts:
            self.shards_without_texts.append(entry)
            return planned
        # The fingerprint of texts can be computed before they are cut.
        texts = texts or texts_fingerprint(entry).metadata()
        # Fingerprints that the shard's outputs will have after the build, by table and tool.
        made = {(DOCUMENTS, ALL): texts[FINGERPRINT]}
        for stage in PIPELINE:
            for name in self.tools_without_index if stage.per == PER_TOOL else ():
                if not stored(stage, name):
                    add(stage, name, MISSING)
            for partition in stage.partitions(self.settings, entry, self.toolbox, self.annotator):
                name = partition.tool_name
                before = PIPELINE.previous_round_inputs(stage, partition, self.warehouse)
                inputs = {
                    **self._of_other_tools(stage, partition),
                    **{address: each.fingerprint for address, each in before.items()},
                    **made,
                }
                parts = PIPELINE.input_parts(stage, partition, inputs)
                if stage.reads_indexes and name in self.tools_with_stale_index:
                    # The version after the rebuild is unknown; this value differs from any other.
                    parts["tool_version"] = "with the index to come"
                fingerprint = self._own_fingerprint(stage, partition).with_parts(parts)
                metadata = stored(stage, name)
                reason = "forced" if self.force else fingerprint.difference(metadata)
                if reason is None and metadata is not None:
                    # It may also cover the rows, so it can differ from the digest computed here.
                    made[stage.name, name] = metadata[FINGERPRINT]
                else:
                    made[stage.name, name] = fingerprint.digest
                    add(stage, name, str(reason))
        return planned

    def _own_fingerprint(self, stage: ShardStage, partition: Partition) -> Fingerprint:
        address = stage.name, partition.tool_name, partition.entry.source
        if address not in self._own_fingerprints:
            self._own_fingerprints[address] = stage.own_fingerprint(partition)
        return self._own_fingerprints[address]

    def _of_other_tools(
        self, stage: ShardStage, partition: Partition
    ) -> dict[tuple[str, str], str]:
        """Return fingerprints of rows that are merged although this build skips their tool."""
        if not PIPELINE.is_merging(stage):
            return {}
        merged, _ = PIPELINE.merged(stage, partition, self.warehouse, besides=self.toolbox.tools)
        return {
            (each.table, name): each.fingerprint for name, found in merged.items() for each in found
        }

    def _expected_cost(
        self, stage: ShardStage, tool: str, entry: ShardEntry
    ) -> tuple[int, float | None]:
        if not (stage.passes and self.settings.is_annotated(entry.source, tool)):
            return 0, 0.0
        characters = self._characters.get(entry.key, entry.records * _CHARACTERS_PER_RECORD)
        if rates := self._rates.get((tool, stage.name)):
            return int(rates[0] * characters), rates[1] * characters
        corpus, tool_settings = self.settings.corpus, self.settings.tools.of(tool)
        text_tokens = int(characters / _CHARACTERS_PER_TOKEN)
        # Each text has between one and corpus.max_windows_per_text windows.
        windows = max(entry.records, text_tokens // corpus.window_tokens)
        windows = min(windows, entry.records * corpus.max_windows_per_text)
        samples = windows * tool_settings.positions_per_text * tool_settings.calls_per_position
        tokens_of_text, tokens_of_sample = stage.tokens_fed
        tokens = min(text_tokens, windows * corpus.window_tokens) * tokens_of_text
        return tokens + samples * tokens_of_sample, None
