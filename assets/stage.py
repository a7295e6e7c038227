"""A stage of the pipeline, declared once: what it reads, what it depends on, what it needs.

The asset, the fingerprint of an output, the plan of a build, where a run finds a device, and the
tables of stages in the documentation all follow from the declaration.
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

# In a path of the settings: the tool of the output.
ANY_TOOL = "*"
# Which tools of the project's own have not.
_CLASS = f"tools.{ANY_TOOL}.class"
PER_SHARD, PER_TOOL, PER_VARIANT, PER_EVALUATION = "shard", "tool", "variant", "evaluation"


@dataclass(frozen=True, slots=True)
class Partition:
    """One output of a stage: of a shard, or of one tool in it.

    Attributes:
        annotator: identity of the annotating model; empty where no stage asks for it.
        tool_name: whose calls; `all` for a stage with one output per shard.
    """

    settings: Settings
    entry: ShardEntry
    toolbox: Toolbox
    annotator: str = ""
    tool_name: str = ALL

    @property
    def shard(self) -> str:
        """Key of the shard."""
        return self.entry.key

    @property
    def tool(self) -> Tool:
        """The tool, of a stage with one output per tool."""
        return self.toolbox.tools[self.tool_name]

    @property
    def prompt(self) -> str | None:
        """Few-shot prompt of the tool; None where sampling leaves it out."""
        return self.toolbox.prompts[self.tool_name]

    @property
    def tool_settings(self) -> ToolSettings:
        """The section of the tool."""
        return self.settings.tools.of(self.tool_name)


@dataclass(frozen=True, slots=True)
class Part:
    """What an output depends on besides its inputs and single settings.

    Attributes:
        name: in the fingerprint, and in the reason why an output is out of date.
        value: anything that JSON or `str` can write, and of a shard follows from its source alone;
            None where `Stage.fingerprint` is given it.
        known: what of it stands in the code version, where `value` is None; by default `settings`.
    """

    name: str
    settings: tuple[str, ...] = ()
    value: Callable[[Partition], object] | None = None
    known: Callable[[Settings, Home], object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage of the pipeline.

    Attributes:
        name: name of its asset; the table of a stage of shards is called so too.
        version: bumped when the meaning of its rows changes; see `assets/code_versions.py`.
        group: group of its asset, which is a job too.
        kinds: what it works with, as the UI shows it.
        per: what it has an output of: one of all, or one per shard, tool of a shard, variant of the
            finetuned model, or benchmark and model.
        reads_all: those of which it reads every partition, whichever it has itself.
        table: whose columns the page of its asset shows; by default that of its name.
        settings: paths of the settings that its rows depend on, such as `corpus.window_tokens` or
            `tools.*.sampling_threshold`. A section stands for all that is in it.
        needs_device: whether an output needs the device; None where none does.
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
    parts: tuple[Part, ...] = ()
    needs_device: Callable[[Any], bool] | None = None

    @property
    def all_settings(self) -> tuple[str, ...]:
        """The settings that its rows depend on, those behind its parts included."""
        behind_parts = (path for part in self.parts for path in part.settings)
        return tuple(dict.fromkeys((*self.settings, *behind_parts)))

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
        """What an output is made of.

        Args:
            parts: by name, what it depends on besides settings.
            paths: those of the stage's settings that it depends on; None for all.

        Raises:
            ValueError: the declaration does not name a part.
        """
        if unknown := parts.keys() - {part.name for part in self.parts}:
            raise ValueError(f"The stage {self.name!r} declares no part {unknown}. Add it there.")
        chosen = self.settings if paths is None else paths
        values = {
            path.replace(ANY_TOOL, tool_name): setting_value(settings, path, tool_name)
            for path in chosen
        }
        return Fingerprint.of({"code_version": self.version, **parts, **values})


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStage(Stage):
    """A stage that is run shard by shard.

    Attributes:
        reads_round_before: tables of the round before that it reads where calls are chained.
        reads_indexes: assets of the indexes that tools search while it runs.
        side_tables: further tables that `compute` makes rows of, published with its own.
        passes: names of what it does in `stage_costs`.
        tokens_fed: what the model reads for each token of text and for each sample, about; a plan
            expects it where nothing has been measured yet.
        compute: a `PartitionRun` to the rows of the output; its docstring describes the asset.
        compute_together: the same for several shards, of a stage that takes no longer than storing
            does, and has no side tables, costs, device and checkpoints.
        share: `ShardRun` and shard to what is made once per shard and version of its texts, for the
            outputs of all tools.
    """

    group: str = "build_dataset"
    per: Literal["shard", "tool"] = "tool"
    compute: Callable[[Any], OutputRows]
    compute_together: Callable[[Sequence[Any]], list[OutputRows]] | None = None
    report: Callable[[ShardRows, ShardReport], None]
    reads_round_before: tuple[str, ...] = ()
    reads_indexes: tuple[str, ...] = ()
    side_tables: tuple[str, ...] = ()
    passes: tuple[str, ...] = ()
    tokens_fed: tuple[int, int] = (0, 0)
    share: Callable[[Any, str], Any] | None = None
    are_tools_concurrent: bool = False

    @property
    def uses_annotator(self) -> bool:
        """Whether its rows depend on the annotating model."""
        return ANNOTATOR in self.parts

    @property
    def all_settings(self) -> tuple[str, ...]:
        """The settings that its rows depend on, those behind its parts included."""
        # Whether there is an input of the round before, and whose calls are merged.
        chained = ("sampling.is_chained",) if self.reads_round_before else ()
        merged = ("tools.*.is_enabled",) if self.per != PER_TOOL else ()
        return (*super(ShardStage, self).all_settings, *chained, *merged)

    @property
    def has_rounds(self) -> bool:
        """Whether the rows of each round of annotation stand beside the others'."""
        return "round" in table_schema(self.name).column_names

    def partitions(
        self, settings: Settings, entry: ShardEntry, toolbox: Toolbox, annotator: str
    ) -> Iterator[Partition]:
        """The outputs of the stage for a shard; the arguments as of `Partition`.

        A stage is given the tools and the model that it declares, and no others.
        """
        identity = annotator if self.uses_annotator else ""
        if self.per != PER_TOOL:
            yield Partition(settings, entry, Toolbox({}, {}, {}), identity)
            return
        for name in toolbox.tools:
            yield Partition(settings, entry, toolbox, identity, name)

    def output_name(self, tool_name: str, round_number: int) -> str:
        """The name of an output in the warehouse, such as `round-2.Calendar`."""
        return name_in_round(round_number, tool_name) if self.has_rounds else tool_name

    def own_fingerprint(self, partition: Partition) -> Fingerprint:
        """What one output is made of besides its inputs: the same in all shards of a source."""
        parts = {part.name: part.value(partition) for part in self.parts if part.value}
        return self.fingerprint(partition.settings, parts, tool_name=partition.tool_name)


def setting_value(settings: Settings, path: str, tool_name: str = ALL) -> object:
    """The value of a setting, as it stands in a fingerprint.

    Args:
        path: its names from the outermost section on, joined by dots; `*` is the tool.

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
    """True, for stages whose every output needs the device."""
    return True


# The finetuned model is no asset that annotation depends on: that would be a cycle.
ANNOTATOR = Part(
    "language_model",
    (
        *("language_model.path", "language_model.bos_token", "language_model.server.model"),
        "sampling.annotator",
    ),
    lambda partition: [partition.annotator, partition.settings.language_model.bos_token],
)
_PRECISION = "language_model.precision"
PRECISION = Part(
    _PRECISION,
    (_PRECISION,),
    # What a server computes in is its own.
    lambda partition: (
        "auto"
        if partition.settings.is_annotated_by_server
        else partition.settings.language_model.precision
    ),
)
TOOL_VERSION = Part(
    "tool_version",
    (
        *("tools.*.options", "tools.*.class", "wikipedia_index", "passage_index"),
        # The base model reads for QA.
        *("question_answering", "language_model.path", "language_model.server.model"),
        *("language_model.precision", "language_model.bos_token"),
    ),
    lambda partition: partition.tool.version,
)
# Of all tools that may be called.
TOOL_VERSIONS = Part(
    "tool_versions", ("tools.*.is_enabled", *TOOL_VERSION.settings), known=tool_versions
)
PROMPT = Part(
    "prompt",
    ("tools.*.prompt", "sampling.uses_prompt"),
    lambda partition: partition.prompt and hex_digest(partition.prompt),
)
