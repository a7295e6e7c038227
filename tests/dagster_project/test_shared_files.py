"""Files of a home by way of an object store: two machines, each with a copy of its own."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from dagster_project.copies import mirrored_files, object_store
from dagster_project.home import Home
from dagster_project.settings.sections import SourceSettings
from dagster_project.settings.source_file import added_sources, write_added_sources
from dagster_project.shared_files import (
    bring,
    changing_corpus,
    publish,
    seed,
    share_settings,
    slice_store,
)
from tests.s3 import Store, running_store
from toolformer.sources.manifest import Manifest, manifest_path, slice_path
from warehouse.errors import StoreConflictError, StoreError
from warehouse.layout_version import record_layout
from warehouse.schema import tables

_BUCKETS = count()


@pytest.fixture(scope="module")
def s3() -> Iterator[Store]:
    with running_store() as store:
        yield store


@pytest.fixture
def homes(s3: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Home, Home]:
    """Two machines over one store, which has nothing yet."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    bucket = f"homes-{next(_BUCKETS)}"
    s3.make_bucket(bucket)
    one, two = (Home(tmp_path / name, store=f"s3://{bucket}/home") for name in ("one", "two"))
    for home in (one, two):
        home.root.mkdir()
    return one, two


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_without_a_store_nothing_is_asked_or_done(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert slice_store(home) is None
    publish(home, tmp_path / "nothing")
    bring(home, tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_brought_as_a_whole_and_what_is_gone_from_it_goes(
    homes: tuple[Home, Home],
) -> None:
    one, two = homes
    model = one.models / "toolformer"
    _write(model / "config.json", "{}")
    _write(model / "parts" / "weights", "1")
    publish(one, model)
    bring(two, two.models / "toolformer")
    assert (two.models / "toolformer" / "parts" / "weights").read_text() == "1"
    (model / "parts" / "weights").unlink()
    _write(model / "weights", "2")
    publish(one, model)
    bring(two, two.models / "toolformer")
    files = {path.name for path in (two.models / "toolformer").rglob("*") if path.is_file()}
    assert files == {"config.json", "weights"}


def test_who_has_not_seen_the_newest_model_does_not_replace_it(homes: tuple[Home, Home]) -> None:
    one, two = homes
    for home, text in ((one, "1"), (two, "2")):
        bring(home, home.models / "toolformer")
        _write(home.models / "toolformer" / "weights", text)
    publish(one, one.models / "toolformer")
    with pytest.raises(StoreConflictError, match="models/toolformer"):
        publish(two, two.models / "toolformer")


def test_settings_edited_on_one_machine_reach_the_other(homes: tuple[Home, Home]) -> None:
    one, two = homes
    _write(one.settings_file, "preset: demo\n")
    share_settings(one)
    share_settings(two)
    assert two.settings_file.read_text() == "preset: demo\n"
    _write(two.settings_file, "preset: laptop\n")
    share_settings(two)
    share_settings(one)
    assert one.settings_file.read_text() == "preset: laptop\n"


def test_settings_edited_on_both_machines_are_both_kept_and_refused(
    homes: tuple[Home, Home],
) -> None:
    one, two = homes
    _write(one.settings_file, "preset: demo\n")
    for home in homes:
        share_settings(home)
    _write(one.settings_file, "preset: paper\n")
    share_settings(one)
    _write(two.settings_file, "preset: laptop\n")
    with pytest.raises(StoreError, match="was edited here, and on another machine as well"):
        share_settings(two)
    assert two.settings_file.read_text() == "preset: laptop\n"
    assert (two.root / "toolformer.theirs.yaml").read_text() == "preset: paper\n"
    # Once the user has seen it, his file is published.
    share_settings(two)
    share_settings(one)
    assert one.settings_file.read_text() == "preset: laptop\n"


def test_raw_slices_come_when_asked_for_and_go_when_they_are_moved(
    homes: tuple[Home, Home],
) -> None:
    one, two = homes
    raw = slice_path(one.sources, "shard-00000")
    with changing_corpus(one):
        _write(raw, "texts")
        Manifest(next_number=1).save(one.sources)
    copy = slice_path(two.sources, "shard-00000")
    bring(two, copy)
    assert copy.read_text() == "texts"
    with changing_corpus(two):
        assert Manifest.load(two.sources).next_number == 1
        aside = two.sources / "retired" / copy.name
        aside.parent.mkdir()
        copy.rename(aside)
    with changing_corpus(one):
        assert not raw.exists()
        assert (one.sources / "retired" / raw.name).read_text() == "texts"


def test_of_two_machines_that_change_the_corpus_one_gets_the_keys(
    homes: tuple[Home, Home],
) -> None:
    one, two = homes
    raw, mine = (slice_path(home.sources, "shard-00000") for home in homes)

    def change_on_both() -> None:
        with changing_corpus(two):
            _write(mine, "of two")
            Manifest(next_number=1).save(two.sources)
            with changing_corpus(one):
                _write(raw, "of one")
                Manifest(next_number=1).save(one.sources)
                publish(one, manifest_path(one.sources))
            publish(two, manifest_path(two.sources))

    with pytest.raises(StoreConflictError, match="manifest"):
        change_on_both()
    assert not mine.exists()
    with changing_corpus(two):
        assert mine.read_text() == "of one"


def test_sources_that_two_machines_list_at_once_are_merged(homes: tuple[Home, Home]) -> None:
    one, two = homes
    a, b, c, d = (SourceSettings.model_validate({"path": f"/{name}"}) for name in "abcd")
    write_added_sources(one.settings_file, [a, b])
    share_settings(one)
    share_settings(two)
    write_added_sources(one.settings_file, [b, c])
    share_settings(one)
    write_added_sources(two.settings_file, [a, b, d])
    share_settings(two)
    share_settings(one)
    for home in homes:
        assert added_sources(home.settings_file) == [b, c, d]


def test_a_home_with_rows_of_its_own_is_no_copy_until_it_seeds_the_store(
    homes: tuple[Home, Home],
) -> None:
    one, two = homes
    record_layout(one.warehouse)
    place = one.warehouse / "documents" / "shard=shard-00000"
    _write(place / f"all@{1:016d}-{'0' * 16}.parquet", "rows")
    _write(one.models / "toolformer" / "weights", "1")
    _write(one.settings_file, "preset: demo\n")
    with pytest.raises(StoreError, match="holds rows of its own and is no copy"):
        slice_store(one)
    assert seed(one) == (1, 1)
    assert slice_store(one) is not None
    store = slice_store(two)
    assert store is not None
    store.bring(tables())
    (copied,) = (two.warehouse / "documents" / "shard=shard-00000").iterdir()
    assert copied.read_text() == "rows"
    bring(two, two.models / "toolformer")
    share_settings(two)
    assert two.settings_file.read_text() == "preset: demo\n"
    # Of an interrupted seed, the rest is put there.
    assert seed(one) == (1, 1)


def test_a_store_with_something_is_not_seeded(homes: tuple[Home, Home]) -> None:
    one, two = homes
    publish(one, _write(one.precisions / "model.cpu.json", "{}"))
    with pytest.raises(StoreError, match="has something already"):
        seed(two)


def test_a_process_tries_a_store_once(homes: tuple[Home, Home]) -> None:
    one, _ = homes
    assert one.store is not None
    assert object_store(one.store) is object_store(one.store)
    files = mirrored_files(one.root, one.machine, one.store)
    assert files is mirrored_files(one.root, one.machine, one.store)
