"""What `annotate_new_shards` runs, look by look."""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
import pytest

from assets.dataset.stages import PIPELINE
from dagster_project.definitions import definitions, definitions_of
from dagster_project.sensors import sensors
from toolformer.home.home import Home as ProjectHome
from toolformer.home.partitions import register_shards
from toolformer.sources.manifest import Manifest, ShardEntry

STAGES = list(PIPELINE.names)
OF_ALL_SHARDS = ["corpus_manifest", "wikipedia_index", "passage_index"]


class Home:
    """What Dagster knows of a home, and the looks of the sensor at it."""

    def __init__(self, instance: dg.DagsterInstance):
        self._instance = instance
        self._cursor = None
        self._manifest = Manifest()
        # What the last look asked for besides.
        self.following: set[str] = set()
        self.definitions = definitions()

    def register(self, *shards: str, held_out: str | None = None) -> None:
        """Further shards, the texts of which come later."""
        self._manifest.shards += [
            ShardEntry(shard, "texts", 0, 1, "d", shard == held_out) for shard in shards
        ]
        register_shards(self._instance, self._manifest)

    def add(self, *shards: str, held_out: str | None = None) -> None:
        """Shards are registered, and then their texts stored."""
        self.register(*shards, held_out=held_out)
        self.made(["documents"], *shards)

    def made(self, assets: Sequence[str], *shards: str | None, version: str | None = None) -> None:
        for asset in assets:
            for shard in shards or (None,):
                self._instance.report_runless_asset_event(
                    dg.AssetMaterialization(
                        asset,
                        partition=shard,
                        tags={"dagster/data_version": version} if version else None,
                    )
                )

    def look(self) -> Mapping[str, set[str]]:
        """What is asked for: the shards, by asset."""
        _, annotate_new_shards = sensors()
        selection = annotate_new_shards.asset_selection
        assert selection is not None
        graph = self.definitions.get_repository_def().asset_graph
        # As the daemon does; this helper would forget the state of assets that have none.
        if not any(graph.get(key).automation_condition for key in selection.resolve(graph)):
            self.following = set()
            return {}
        found = dg.evaluate_automation_conditions(
            self.definitions, self._instance, asset_selection=selection, cursor=self._cursor
        )
        self._cursor = found.cursor
        requested = {
            name: set(found.get_requested_partitions(dg.AssetKey(name))) for name in STAGES
        }
        self.following = {
            name
            for name in ("call_statistics", "report")
            if found.get_requested_partitions(dg.AssetKey(name))
        }
        assert sum(map(len, [*requested.values(), self.following])) == found.total_requested
        return {name: shards for name, shards in requested.items() if shards}


def all_of(stages: Sequence[str], *shards: str) -> Mapping[str, set[str]]:
    return {name: set(shards) for name in stages}


@pytest.fixture(autouse=True)
def default_settings(tmp_path, monkeypatch):
    """A checkout in which the demo ran has a home with other settings."""
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path / "default"))


@pytest.fixture
def home() -> Iterator[Home]:
    with dg.DagsterInstance.ephemeral() as instance:
        made = Home(instance)
        made.made(OF_ALL_SHARDS, version="1")
        yield made


def test_only_two_sensors_are_there_and_both_are_off():
    # A condition that no sensor is for would get one of Dagster's own.
    defined = definitions().get_repository_def().sensor_defs
    assert {sensor.name for sensor in defined} == {"inbox", "annotate_new_shards"}
    for sensor in defined:
        assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
        assert sensor.description


def test_all_stages_of_a_new_shard_are_asked_for_in_one_look_and_once(home: Home):
    home.add("shard-00000", "shard-00001", "shard-00002")
    # It was built before the sensor was switched on.
    home.made(STAGES, "shard-00002")
    assert home.look() == all_of(STAGES, "shard-00000", "shard-00001")
    # Also where its calls could not be sampled, and no materialisation follows.
    assert home.look() == {}
    home.made(STAGES, "shard-00000", "shard-00001")
    assert home.look() == {}
    home.add("shard-00003")
    assert home.look() == all_of(STAGES, "shard-00003")


def test_a_held_out_shard_is_not_annotated(home: Home):
    home.add("shard-00000", "shard-00001", held_out="shard-00001")
    assert home.look() == all_of(STAGES, "shard-00000")
    home.made(STAGES, "shard-00000")
    home.made(["documents"], "shard-00001")
    assert home.look() == {}


def test_nothing_runs_before_the_texts_are_stored():
    with dg.DagsterInstance.ephemeral() as instance:
        home = Home(instance)
        home.register("shard-00000")
        assert home.look() == {}
        home.made(["documents"], "shard-00000")
        # Tools that search are left out where there is no index, and nothing waits for one.
        assert home.look() == all_of(STAGES, "shard-00000")


@pytest.fixture
def built(home: Home) -> Home:
    home.add("shard-00000", "shard-00001")
    home.made(STAGES, "shard-00000", "shard-00001")
    assert home.look() == {}
    return home


@pytest.mark.parametrize(
    ("made_again", "stale"), [("executed_calls", STAGES[2:]), ("documents", STAGES)]
)
def test_what_was_made_again_makes_the_stages_behind_it_stale(
    built: Home, made_again: str, stale: list[str]
):
    built.made([made_again], "shard-00001")
    assert built.look() == all_of(stale, "shard-00001")
    assert built.look() == {}


def test_another_setting_makes_its_stage_and_those_behind_it_stale(built: Home, tmp_path):
    root = tmp_path / "home"
    root.mkdir()
    (root / "toolformer.yaml").write_text("tools: {Calendar: {filtering_threshold: 0.7}}\n")
    built.definitions = definitions_of(ProjectHome(root))
    behind = STAGES[STAGES.index("filtered_calls") :]
    assert built.look() == all_of(behind, "shard-00000", "shard-00001")
    assert not built.look()


def test_nothing_is_asked_for_while_the_settings_are_broken_and_nothing_is_forgotten(
    built: Home, tmp_path
):
    root = tmp_path / "home"
    root.mkdir()

    def write(text: str) -> None:
        (root / "toolformer.yaml").write_text(text)
        built.definitions = definitions_of(ProjectHome(root))

    write("preset: small\n")
    built.look()
    write("presett: small\n")
    built.add("shard-00002")
    assert built.look() == {}
    assert built.following == set()
    # What came meanwhile would have failed, and is asked for now; the others are as they were.
    write("preset: small\n")
    assert built.look() == all_of(STAGES, "shard-00002")
    assert built.look() == {}


def test_an_index_makes_shards_stale_only_when_it_is_another_one(built: Home):
    built.made(["wikipedia_index", "passage_index"], version="1")
    assert built.look() == {}
    built.made(["wikipedia_index"], version="2")
    assert built.look() == all_of(STAGES[1:], "shard-00000", "shard-00001")


def test_statistics_and_report_follow_a_build_of_whichever_shards(built: Home):
    built.look()
    built.made(["call_statistics", "report"])
    assert built.look() == {}
    assert built.following == set()
    # As a command reports it, stage by stage.
    built.made(STAGES, "shard-00001")
    built.look()
    assert built.following == {"call_statistics", "report"}
    built.made(["call_statistics", "report"])
    built.look()
    assert built.following == set()
