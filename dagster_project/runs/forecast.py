"""What `toolformer build` would do, from beginning to end, as data.

Changes nothing: writes no settings, cuts no source, converts no model, builds no index.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dagster_project.home import Home
from dagster_project.runs.chosen_shards import ChosenShards, chosen_shards
from dagster_project.runs.foreseen_home import ForeseenHome, foresee
from dagster_project.runs.plan import BuildPlan, PlannedSlice
from dagster_project.settings.sections import Settings
from dagster_project.shared_files import bring_below, slice_store
from dagster_project.wiring.annotator import Annotator
from dagster_project.wiring.toolbox import Toolbox, open_toolbox
from toolformer.sources.manifest import Manifest, ShardEntry, read_shard
from toolformer.sources.records import ParsedDocument
from warehouse.layout import empty_slice_path
from warehouse.schema import ALL, tables
from warehouse.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a build would do.

    Attributes:
        foreseen: what comes before the shards.
        toolbox: the tools that would be used, and why others would be left out.
        chosen: the shards, those to be cut among them; without those whose slices lie aside until
            they are active again.
        slices: to be made, in the order of the stages.
    """

    foreseen: ForeseenHome
    toolbox: Toolbox
    chosen: ChosenShards
    slices: list[PlannedSlice]

    @property
    def does_anything(self) -> bool:
        """Whether the build would change the home."""
        return bool(self.slices or self.foreseen.prepares)


def forecast_build(
    settings: Settings,
    home: Home,
    *,
    tools: Sequence[str] = (),
    shards: Sequence[str] = (),
    force: bool = False,
) -> Forecast:
    """Plan a build.

    Args:
        settings: of the run.
        home: as it is now; one that is not there yet is an empty one.
        tools, shards: that were named; all that are enabled and active where none was.
        force: make also what is up to date.

    Raises:
        UnknownToolError, ToolUnavailableError, ToolSettingsError, PromptError: a tool cannot be
            used.
        ShardNotFoundError: there is no such shard, and would be none.
        DamagedRawSliceError: the manifest or a raw slice cannot be read.
    """
    with tempfile.TemporaryDirectory() as scratch:
        foreseen = foresee(settings, home, tools, Path(scratch) / "home")
        toolbox = open_toolbox(settings, foreseen.home, named=tools or None)
        chosen = chosen_shards(Manifest.load(foreseen.home.sources), shards, settings)
        chosen = chosen.without(foreseen.restored_shards)
        bring_below(home, home.sources)
        # To ask a warehouse writes what makes it ready; where that is missing, there are no slices.
        is_ready = all(empty_slice_path(home.warehouse, table) for table in tables())
        folder = home.warehouse if is_ready else Path(scratch) / "warehouse"
        warehouse = Warehouse(folder, home.database, slice_store(home))
        # Of a model that is still to be converted, nothing but its name can be told yet.
        annotator = Annotator.of(settings, foreseen.home) if foreseen.is_converted else None
        slices = BuildPlan(
            warehouse,
            settings,
            toolbox,
            model=annotator.identity if annotator else "",
            force=force,
            characters_per_record=_characters_per_record(
                [*chosen.annotated, *chosen.held_out], warehouse, foreseen.home
            ),
        ).of(chosen.annotated, texts_of=chosen.held_out)
        return Forecast(foreseen, toolbox, chosen, slices)


def _characters_per_record(
    entries: Sequence[ShardEntry], warehouse: Warehouse, home: Home
) -> Mapping[str, float]:
    """Of each source whose texts are not all read yet, from the first shard of these."""
    found: dict[str, float] = {}
    for entry in entries:
        is_read = warehouse.slice_metadata("documents", entry.key, ALL) is not None
        if is_read or entry.source in found:
            continue
        lengths = [
            len(record.text) if isinstance(record, ParsedDocument) else 0
            for record in read_shard(home.sources, entry)
        ]
        found[entry.source] = sum(lengths) / max(1, len(lengths))
    return found
