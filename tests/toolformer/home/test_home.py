"""Which paths are shared by all machines, and which belong to one."""

import re
from pathlib import Path

import pytest

from tests.processes import writing_beside
from toolformer.home.home import Home
from toolformer.settings.errors import SettingsError

OF_ONE_MACHINE = {
    "database",
    "converted_models",
    "tool_results",
    "table_indexes",
    "dagster",
    "machine",
}


def paths(home: Home) -> dict[str, Path]:
    names = {name for name, value in vars(Home).items() if isinstance(value, property)}
    return {name: getattr(home, name) for name in names}


def test_every_path_is_shared_or_of_one_machine_under_the_same_name(tmp_path):
    home = Home(tmp_path / "shared", tmp_path / "cache")
    before = paths(Home(tmp_path / "shared"))
    for name, path in paths(home).items():
        place = home.machine if name in OF_ONE_MACHINE else home.root
        assert path.relative_to(place) == before[name].relative_to(home.root), name


def test_locks_of_a_machine_are_in_its_cache_and_those_of_shared_data_in_the_home(tmp_path):
    home = Home(tmp_path / "shared", tmp_path / "cache")
    partition = home.partition_lock("documents", "shard-00000", "all")
    shared = [home.shards_lock(), partition, home.output_lock("finetuned_model.toolformer")]
    node = [home.device_lock("cpu"), home.process_lock("process-1")]
    for locks, folder in ((shared, home.root), (node, home.machine)):
        assert {Path(lock.lock_file).parent for lock in locks} == {folder / "locks"}
        assert len({lock.lock_file for lock in locks}) == len(locks)


@pytest.fixture
def environment(monkeypatch, tmp_path):
    def set_to(**variables: str) -> None:
        for name in ("HOME", "CACHE"):
            monkeypatch.delenv(f"TOOLFORMER_{name}", raising=False)
        for name, value in {"HOME": str(tmp_path), **variables}.items():
            monkeypatch.setenv(f"TOOLFORMER_{name}", value)

    return set_to


def test_the_environment_names_home_and_cache(environment, tmp_path):
    environment(CACHE="~/fast")
    assert Home.find() == Home(tmp_path, Path.home() / "fast")


@pytest.mark.parametrize("variable", ["HOME", "CACHE"])
def test_a_folder_that_databases_cannot_open_is_refused(environment, tmp_path, variable):
    for special in ("?", "*", "[", "\\", "=", "\n", "%20"):
        environment(**{variable: str(tmp_path / f"my{special}home" / "data")})
        with pytest.raises(SettingsError, match=re.escape(f"'{special}'")):
            Home.find()
    # Any other character is taken.
    folder = tmp_path / "münchen 漢 100% #1 {a,b} a]b 'c' \"d\" & $e;f"
    environment(HOME=str(folder), CACHE=str(folder))
    assert Home.find().root == folder


@pytest.mark.parametrize(
    "name", ["models/toolformer/README.md", "models/toolformer", "warehouse/layout-version"]
)
def test_what_a_killed_process_left_half_written_is_removed(tmp_path, name: str):
    home, file = Home(tmp_path), tmp_path / name
    folder = file.parent
    folder.mkdir(parents=True)
    with writing_beside(file) as path:
        home.remove_abandoned_files()
        assert path.exists()
    home.remove_abandoned_files()
    assert list(folder.iterdir()) == []
