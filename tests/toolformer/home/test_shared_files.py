"""Files of a home by way of an object store: two machines, each with a copy of its own."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from unittest.mock import Mock

import dagster as dg
import pytest

from assets.corpus import sync_shards
from assets.documents import store_texts, stored_texts
from dagster_project.definitions import definitions_of
from tests.corpora import write_texts
from tests.s3 import Store
from tests.warehouse.rows import put
from toolformer.home import home as home_module
from toolformer.home.home import Home
from toolformer.home.settings.corpus_sections import SourceSettings
from toolformer.home.settings.source_file import added_sources, write_added_sources
from toolformer.home.shared_files import changing_corpus, seed, share_settings
from toolformer.home.wiring.warehouse import open_warehouse
from toolformer.sources.cutting import CutShard
from toolformer.sources.ingestion import STAGED, retire_source, update_manifest
from toolformer.sources.manifest import Manifest, ShardEntry, manifest_path
from toolformer.sources.source import Source
from warehouse.errors import StoreConflictError, StoreError
from warehouse.store.objects import open_store
from warehouse.warehouse import Warehouse

_BUCKETS = count()
Homes = tuple[Home, Home]


@pytest.fixture
def homes(s3: Store, monkeypatch, tmp_path) -> tuple[Home, Home]:
    """Two machines over one store, which has nothing yet."""
    s3.lead_to(monkeypatch)
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


def test_without_a_store_nothing_is_asked_or_done(tmp_path):
    home = Home(tmp_path)
    assert home.partition_store() is None
    home.publish(tmp_path / "nothing")
    home.open(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []


def test_settings_reach_the_other_machine_and_two_edits_are_both_kept_and_refused(homes: Homes):
    one, two = homes
    _write(one.settings_file, "preset: demo\n")
    share_settings(one)
    share_settings(two)
    assert two.settings_file.read_text() == "preset: demo\n"
    _write(two.settings_file, "preset: small\n")
    share_settings(two)
    share_settings(one)
    assert one.settings_file.read_text() == "preset: small\n"
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


def test_dagster_shows_what_another_machine_has_edited(homes: Homes):
    one, two = homes
    for home, text in ((one, "preset: demo\n"), (two, "preset: small\n")):
        shared = [definitions_of(each) for each in homes]
        _write(home.settings_file, text)
        versions = [
            {spec.key: spec.code_version for spec in defined.resolve_all_asset_specs()}
            for defined in (definitions_of(home), *map(definitions_of, homes), *shared)
        ]
        edited, *seen, before, _ = versions
        assert seen == [edited, edited]
        assert edited != before


def _cut(home: Home, texts: Sequence[str], *, between: Callable[[], object] | None = None) -> None:
    """Cut a file of these texts as `corpus_manifest` does, each into a shard.

    `between` is done once the shards are registered here and nothing is published yet.
    """
    file = write_texts(home.root / "texts.jsonl", texts)
    warehouse = open_warehouse(home)

    def store(cut: list[tuple[ShardEntry, CutShard]]) -> None:
        if between is not None:
            between()
        sync_shards(home, warehouse, instance)
        for _ in store_texts(warehouse, cut, run_id="test"):
            pass

    with dg.DagsterInstance.ephemeral() as instance, changing_corpus(home):
        update_manifest(
            home.sources,
            [Source(str(file), shard_size=1)],
            held_out_every=0,
            stored=stored_texts(warehouse),
            store=store,
        )
        sync_shards(home, warehouse, instance)


def _texts(home: Home) -> dict[str, list[str]]:
    """By active shard its texts, as this machine sees them."""
    home.open(manifest_path(home.sources))
    warehouse = open_warehouse(home)
    return {
        entry.key: warehouse.read_partition("documents", entry.key, "all")["text"].to_list()
        for entry in Manifest.load(home.sources).active_shards
    }


def test_texts_that_one_machine_cuts_are_those_of_the_other(homes: Homes):
    one, two = homes
    _cut(one, ["One.", "Two."])
    two.open(manifest_path(two.sources))
    stored = stored_texts(open_warehouse(two))
    assert set(stored.keys) == {"shard-00000", "shard-00001"}
    # Which texts there are is known without fetching them.
    assert not list(two.warehouse.glob("documents/shard=shard-*/*.parquet"))
    assert _texts(two) == {"shard-00000": ["One."], "shard-00001": ["Two."]}


def test_of_two_machines_that_change_the_corpus_one_gets_the_keys(homes: Homes):
    one, two = homes
    with pytest.raises(StoreConflictError, match="manifest"):
        _cut(two, ["Of two."], between=lambda: _cut(one, ["Of one."]))
    assert not (two.sources / STAGED).exists()
    for home in homes:
        assert _texts(home) == {"shard-00000": ["Of one."]}
    _cut(two, ["Of two."])
    for home in homes:
        assert _texts(home) == {"shard-00000": ["Of one."], "shard-00001": ["Of two."]}


def test_a_machine_that_dies_before_the_texts_leaves_its_keys_to_nobody_else(
    homes: Homes, monkeypatch
):
    one, two = homes
    with monkeypatch.context() as patch:
        patch.setattr(f"{__name__}.store_texts", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            _cut(one, ["One."])
    assert set(stored_texts(open_warehouse(two)).keys) == set()
    _cut(two, ["Two."])
    _cut(one, ["One."])
    for home in homes:
        assert _texts(home) == {"shard-00000": ["One."], "shard-00001": ["Two."]}


def test_texts_of_a_shard_that_another_machine_retired_come_back(homes: Homes):
    one, two = homes
    _cut(one, ["One."])
    with dg.DagsterInstance.ephemeral() as instance, changing_corpus(two):
        warehouse = open_warehouse(two)
        source = str(one.root / "texts.jsonl")
        retire_source(two.sources, source, stored_texts(warehouse))
        sync_shards(two, warehouse, instance)
    assert _texts(one) == {}
    _cut(one, ["One."])
    assert _texts(two) == {"shard-00000": ["One."]}


def test_sources_that_two_machines_list_at_once_are_merged(homes: Homes):
    one, two = homes
    a, b, c, d, e = (SourceSettings.model_validate({"path": f"/{name}"}) for name in "abcde")
    write_added_sources(one.settings_file, [a, b, e])
    share_settings(one)
    share_settings(two)
    # Each takes one out and adds one.
    write_added_sources(one.settings_file, [b, c, e])
    share_settings(one)
    write_added_sources(two.settings_file, [a, b, d])
    share_settings(two)
    share_settings(one)
    for home in homes:
        assert added_sources(home.settings_file) == [b, c, d]


def test_a_home_with_rows_of_its_own_is_no_copy_until_it_seeds_the_store(homes: Homes):
    one, two = homes
    put(Warehouse(one.warehouse, one.database), "documents", {"title": "rows"})
    _write(one.models / "toolformer" / "weights", "1")
    _write(one.settings_file, "preset: demo\n")
    with pytest.raises(StoreError, match="holds rows of its own and is no copy"):
        one.partition_store()
    assert seed(one) == (1, 1)
    assert one.partition_store() is not None
    store = two.partition_store()
    assert store is not None
    assert open_warehouse(two).query("select title from documents").item() == "rows"
    two.open(two.models / "toolformer")
    share_settings(two)
    assert two.settings_file.read_text() == "preset: demo\n"
    # Of an interrupted seed, the rest is put there.
    assert seed(one) == (1, 1)
    with pytest.raises(StoreError, match=r"is a copy of 's3://.*TOOLFORMER_STORE is not set"):
        replace(two, store=None).partition_store()


def test_a_copy_of_a_store_that_was_emptied_and_filled_again_is_refused(homes: Homes, tmp_path):
    """The numbers of its versions are those of before, so its copies would count."""

    def titled(home: Home, title: str) -> None:
        put(open_warehouse(home), "documents", {"title": title})

    def next_process() -> None:
        home_module._files_of_store.cache_clear()

    one, two = homes
    titled(one, "before")
    assert open_warehouse(two).query("select title from documents").item() == "before"
    objects = open_store(str(one.store))
    objects.remove([each.path for each in objects.listed()])
    next_process()
    three = replace(one, root=tmp_path / "three")
    titled(three, "after")
    for home in homes:
        with pytest.raises(StoreError, match="was emptied and begun anew"):
            open_warehouse(home)
    next_process()
    assert open_warehouse(three).query("select title from documents").item() == "after"


def test_a_store_with_something_is_not_seeded(homes: Homes):
    one, two = homes
    one.publish(_write(one.models / "toolformer" / "config.json", "{}"))
    with pytest.raises(StoreError, match="is not empty"):
        seed(two)
