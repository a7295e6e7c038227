"""Defines how a stage is declared: what it reads, what it depends on, what it needs.

The asset, fingerprints and build plans of a stage, and its rows in the docs, are derived from the
declaration.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from assets.identities import tool_versions
from assets.outputs import OutputRows
from assets.shard_report import ShardReport, ShardRows
from toolformer.base.digests import hex_digest
from toolformer.home.fingerprints import Fingerprint
from toolformer.home.home import Home
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.settings.sections import Settings
from toolformer.settings.tool_sections import ToolSettings
from toolformer.sources.manifest import ShardEntry
from tools.base import Tool
from warehouse.layout import name_in_round
from warehouse.schema import ALL, table_schema

# Placeholder for the tool of the output in the path of a setting.
ANY_TOOL = "*"
# Set only for third-party tools.
_CLASS = f"tools.{ANY_TOOL}.class"
PER_SHARD, PER_TOOL, PER_VARIANT, PER_EVALUATION = "shard", "tool", "variant", "evaluation"


@dataclass(frozen=True, slots=True)
class Partition:
    """One output of a stage; `tool_name` is `all` for a stage with one output per shard."""

    settings: Settings
    entry: ShardEntry
    toolbox: Toolbox
    annotator: str = ""
    tool_name: str = ALL

    @property
    def shard(self) -> str:
        return self.entry.key

    @property
    def tool(self) -> Tool:
        return self.toolbox.tools[self.tool_name]

    @property
    def prompt(self) -> str | None:
        """Few-shot prompt of the tool; None if sampling uses no prompt."""
        return self.toolbox.prompts[self.tool_name]

    @property
    def tool_settings(self) -> ToolSettings:
        return self.settings.tools.of(self.tool_name)


@dataclass(frozen=True, slots=True)
class FingerprintPart:
    """Named part of a fingerprint that is neither an input nor a single setting.

    Attributes:
        value: computes the part from a shard's source, not from the shard; None if the caller of
            `Stage.fingerprint` passes the part.
        code_version_value: computes what the code version covers if `value` is None; by default
            the settings.
    """

    name: str
    settings: tuple[str, ...] = ()
    value: Callable[[Partition], object] | None = None
    code_version_value: Callable[[Settings, Home], object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Declaration of a stage.

    Attributes:
        name: also the name of its asset, and of the table of a `ShardStage`.
        version: bumped when the meaning of its rows changes; see `assets/code_versions.py`.
        reads_all: assets of which each output reads all partitions.
        table: table whose columns the asset's page shows; None for the table named like the stage.
        settings: paths such as `tools.*.sampling_threshold`; a section includes all settings in it.
    """

    name: str
    version: str
    group: str
    kinds: tuple[str, str]
    per: Literal["once", "shard", "tool", "variant", "evaluation"] = "once"
    reads: tuple[str, ...] = ()
    reads_all: tuple[str, ...] = ()
    table: str | None = None
    settings: tuple[str, ...] = ()
    parts: tuple[FingerprintPart, ...] = ()
    needs_device: Callable[[Any], bool] | None = None

    @property
    def all_settings(self) -> tuple[str, ...]:
        of_parts = (path for part in self.parts for path in part.settings)
        return tuple(dict.fromkeys((*self.settings, *of_parts)))

    def settings_in(self, parts: Mapping[str, str], tool_name: str) -> dict[str, str]:
        """Return the settings among the parts of a stored fingerprint, by path."""
        paths = (path.replace(ANY_TOOL, tool_name) for path in self.all_settings)
        return {path: parts[path] for path in paths if path in parts}

    def fingerprint(
        self,
        settings: Settings,
        parts: Mapping[str, object],
        *,
        paths: tuple[str, ...] | None = None,
        tool_name: str = ALL,
    ) -> Fingerprint:
        """Return the fingerprint of an output; `paths` limits it to some of the settings."""
        if unknown := parts.keys() - {part.name for part in self.parts}:
            raise ValueError(
                f"The stage {self.name!r} does not declare the parts {', '.join(sorted(unknown))}. "
                "Add them to `parts`."
            )
        chosen = self.settings if paths is None else paths
        values = {
            path.replace(ANY_TOOL, tool_name): setting_value(settings, path, tool_name)
            for path in chosen
        }
        return Fingerprint.of({"code_version": self.version, **parts, **values})


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStage(Stage):
    """Declaration of a stage that is run shard by shard.

    Attributes:
        reads_previous_round: tables that it reads from the previous round if rounds are chained.
        side_tables: further tables that `compute` fills; they are published with its own.
        tokens_fed: rough number of tokens fed per token of text and per sample, for plans made
            before costs have been measured.
        compute: returns the rows for a `PartitionRun`; its docstring describes the asset.
        compute_batch: `compute` for several shards, without side tables, costs, device and
            checkpoints.
        prepare_shard: returns what all tools share, given a `ShardRun` and a shard; it runs once
            per version of the shard's texts.
    """

    group: str = "build_dataset"
    per: Literal["shard", "tool"] = "tool"
    compute: Callable[[Any], OutputRows]
    compute_batch: Callable[[Sequence[Any]], list[OutputRows]] | None = None
    report: Callable[[ShardRows, ShardReport], None]
    reads_previous_round: tuple[str, ...] = ()
    reads_indexes: tuple[str, ...] = ()
    side_tables: tuple[str, ...] = ()
    passes: tuple[str, ...] = ()
    tokens_fed: tuple[int, int] = (0, 0)
    prepare_shard: Callable[[Any, str], Any] | None = None
    are_tools_concurrent: bool = False

    @property
    def uses_annotator(self) -> bool:
        return ANNOTATOR in self.parts

    @property
    def all_settings(self) -> tuple[str, ...]:
        # A chained round has one more input; a stage with one output per shard merges all tools.
        chained = ("sampling.is_chained",) if self.reads_previous_round else ()
        merged = ("tools.*.is_enabled",) if self.per != PER_TOOL else ()
        return (*super(ShardStage, self).all_settings, *chained, *merged)

    @property
    def has_rounds(self) -> bool:
        return "round" in table_schema(self.name).column_names

    def partitions(
        self, settings: Settings, entry: ShardEntry, toolbox: Toolbox, annotator: str
    ) -> Iterator[Partition]:
        """Yield the outputs for a shard, with tools and annotator only if the stage uses them."""
        identity = annotator if self.uses_annotator else ""
        if self.per != PER_TOOL:
            yield Partition(settings, entry, Toolbox({}, {}, {}), identity)
            return
        for name in toolbox.tools:
            yield Partition(settings, entry, toolbox, identity, name)

    def output_name(self, tool_name: str, round_number: int) -> str:
        """Return the name of a partition in the warehouse, such as `round-2.Calendar`."""
        return name_in_round(round_number, tool_name) if self.has_rounds else tool_name

    def own_fingerprint(self, partition: Partition) -> Fingerprint:
        """Return the fingerprint without inputs, which all shards of a source share."""
        parts = {part.name: part.value(partition) for part in self.parts if part.value}
        return self.fingerprint(partition.settings, parts, tool_name=partition.tool_name)


def setting_value(settings: Settings, path: str, tool_name: str = ALL) -> object:
    """Return the value of a setting as fingerprints store it; `*` in the path is the tool.

    Example:
        >>> from toolformer.settings.sections import validated
        >>> setting_value(validated({}, origin="example"), "tools.*.filtering_threshold", "QA")
        1.0
    """
    if path == _CLASS:
        return settings.tools.targets.get(tool_name)
    value: Any = settings
    for name in path.split("."):
        value = value.of(tool_name) if name == ANY_TOOL else getattr(value, name)
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def always(_partition: Partition) -> bool:
    return True


# Annotation must not depend on the asset of the finetuned model: the dependency would be a cycle.
ANNOTATOR = FingerprintPart(
    "language_model",
    (
        *("language_model.path", "language_model.bos_token", "language_model.server.model"),
        "sampling.annotator",
    ),
    lambda partition: [partition.annotator, partition.settings.language_model.bos_token],
)
_PRECISION = "language_model.precision"
PRECISION = FingerprintPart(
    _PRECISION,
    (_PRECISION,),
    # A server chooses its precision itself.
    lambda partition: (
        "auto"
        if partition.settings.is_annotated_by_server
        else partition.settings.language_model.precision
    ),
)
TOOL_VERSION = FingerprintPart(
    "tool_version",
    (
        *("tools.*.options", "tools.*.class", "wikipedia_index", "passage_index"),
        # QA reads with the base model.
        *("question_answering", "language_model.path", "language_model.server.model"),
        *("language_model.precision", "language_model.bos_token"),
    ),
    lambda partition: partition.tool.version,
)
# Versions of all tools that may be called.
TOOL_VERSIONS = FingerprintPart(
    "tool_versions",
    ("tools.*.is_enabled", *TOOL_VERSION.settings),
    code_version_value=tool_versions,
)
PROMPT = FingerprintPart(
    "prompt",
    ("tools.*.prompt", "sampling.uses_prompt"),
    lambda partition: partition.prompt and hex_digest(partition.prompt),
)
