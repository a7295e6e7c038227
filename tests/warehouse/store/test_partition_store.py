"""Two machines over one object store: what one publishes, the other reads, and nothing is lost."""

import datetime
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from assets.dataset.sampling import keep_prompt
from tests.warehouse.rows import SHARD, frame
from tests.warehouse.store.conftest import NAME, TABLE, Machine, Machines
from warehouse.errors import LayoutError, StoreConflictError, StoreError
from warehouse.layout import LAYOUT_FILE, layout_version
from warehouse.schema import table_schema
from warehouse.store.objects import StoredObject
from warehouse.store.sweep import sweep


def test_only_what_a_statement_reads_is_fetched(machines: Machines, caplog):
    one, two = machines
    others = [f"shard-{number:05d}" for number in range(1, 20)]
    for shard in [SHARD, *others]:
        one.write(7, shard=shard)
    rejected = table_schema("rejected_records").polars_schema.to_frame()
    one.warehouse.replace_partition("rejected_records", SHARD, "all", rejected, metadata={})
    two.warehouse.prepare()
    assert two.fetched() == []
    statement = f"select tokens_fed from {TABLE}"
    assert two.warehouse.query(statement, shards={SHARD}).height == 1
    assert two.fetched() == [f"{TABLE}/{SHARD}/{NAME}"]
    limited = two.warehouse.limited_to({SHARD, others[0]})
    assert limited.query(statement).height == 2
    with caplog.at_level(logging.INFO, "warehouse.store"):
        assert two.warehouse.query(statement).height == 20
    assert [record.message.split(":")[0] for record in caplog.records] == ["fetched 18 partitions"]
    assert {place.split("/")[0] for place in two.fetched()} == {TABLE}


def test_a_store_of_another_layout_is_refused(machines: Machines, bucket: str, tmp_path):
    one, two = machines
    one.write(7)
    two.warehouse.prepare()
    assert (two.warehouse.folder / LAYOUT_FILE).read_text() == f"{layout_version()}\n"
    file = one.warehouse.folder / LAYOUT_FILE
    file.write_text("7\n")
    one.files.publish(file)
    three = Machine(bucket, tmp_path / "three")
    for machine in (two, three):
        with pytest.raises(LayoutError, match="version 7"):
            machine.warehouse.prepare()
    assert three.fetched() == []
    one.objects.remove([stored.path for stored in one.objects.listed("files")])
    with pytest.raises(LayoutError, match="version none"):
        Machine(bucket, tmp_path / "four").warehouse.prepare()


def test_a_look_at_one_partition_brings_it(machines: Machines):
    one, two = machines
    one.write(7)
    assert two.warehouse.partition_metadata(TABLE, SHARD, NAME) == {"run": "one"}
    assert two.tokens() == [7]
    one.write(8)
    assert two.warehouse.read_partitions(TABLE, SHARD)["tokens_fed"].to_list() == [8]
    # So does a copy that was removed.
    for path in (two.warehouse.folder / TABLE / f"shard={SHARD}").iterdir():
        path.unlink()
    two.store.fetch({TABLE})
    assert two.tokens() == [8]


def test_who_looked_before_another_wrote_is_refused_and_its_rows_are_not_stored(machines: Machines):
    one, two = machines
    for machine in machines:
        assert machine.warehouse.partition_version(TABLE, SHARD, NAME) is None
    one.write(7)
    with pytest.raises(StoreConflictError):
        two.write(9)
    two.store.fetch({TABLE})
    assert one.tokens() == two.tokens() == [7]
    # It has not looked since, and goes by what it saw.
    with pytest.raises(StoreConflictError):
        two.write(9)
    two.warehouse.partition_version(TABLE, SHARD, NAME)
    two.write(9)
    assert two.tokens() == [9]


def test_a_conflict_in_one_shard_leaves_those_stored_with_it_published(machines: Machines):
    one, two = machines
    keys = [SHARD, "shard-00001", "shard-00002"]
    for key in keys:
        assert two.warehouse.partition_version(TABLE, key, NAME) is None
    one.write(7, shard="shard-00001")
    costs = [{"tool": "Calendar", "tokens_fed": 9, "shard": key} for key in keys]
    made = {(TABLE, NAME): (frame(TABLE, *costs), {key: {"run": "two"} for key in keys})}
    with pytest.raises(StoreConflictError, match="shard-00001"):
        two.warehouse.replace_partitions(made)
    one.store.fetch({TABLE})
    found = one.warehouse.query(f"select tokens_fed from {TABLE} order by shard")
    assert found["tokens_fed"].to_list() == [9, 7, 9]


def test_increments_of_both_machines_all_count(machines: Machines):
    def count_up(machine: Machine, times: int = 8) -> int:
        conflicts = 0
        while times:
            version = machine.warehouse.partition_version(TABLE, SHARD, NAME)
            rows = machine.warehouse.read_partition(TABLE, SHARD, NAME) if version else None
            try:
                machine.write(1 + (0 if rows is None else rows["tokens_fed"][0]))
                times -= 1
            except StoreConflictError:
                conflicts += 1
        return conflicts

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(count_up, machines))
    for machine in machines:
        machine.store.fetch({TABLE})
        assert machine.tokens() == [16]


def test_a_retired_shard_leaves_all_machines_and_comes_back(machines: Machines):
    one, two = machines
    one.write(7)
    two.store.fetch({TABLE})
    one.warehouse.store.retire(SHARD)
    assert one.tokens() == []
    two.store.fetch({TABLE})
    assert two.tokens() == []
    assert two.warehouse.store.retired() == {SHARD}
    two.warehouse.store.restore(SHARD)
    assert two.tokens() == [7]
    one.store.fetch({TABLE})
    assert one.tokens() == [7]
    assert one.warehouse.store.retired() == set()


def test_a_shard_that_was_made_anew_stays_when_an_older_one_comes_back(machines: Machines):
    one, two = machines
    for tokens in (5, 6, 7):
        one.write(tokens)
    two.store.fetch({TABLE})
    one.warehouse.store.retire(SHARD)
    assert two.warehouse.partition_version(TABLE, SHARD, NAME) is None
    two.write(8)
    one.warehouse.store.restore(SHARD)
    assert one.tokens() == two.tokens() == [8]
    assert one.warehouse.store.retired() == set()


def test_of_two_that_take_the_same_number_one_is_refused(machines: Machines, monkeypatch):
    one, two = machines
    put_new = two.objects.put_new

    def put_after_the_other(path: str, content: bytes) -> None:
        one.write(7)
        put_new(path, content)

    two.warehouse.prepare()
    monkeypatch.setattr(two.objects, "put_new", put_after_the_other)
    with pytest.raises(StoreConflictError, match="another machine"):
        two.write(9)
    assert one.tokens() == two.tokens() == [7]
    assert two.fetched() == [f"{TABLE}/{SHARD}/{NAME}"]


def test_of_two_that_store_the_same_prompt_none_is_refused(machines: Machines, monkeypatch):
    one, two = machines
    put_new = two.objects.put_new

    def put_after_the_other(path: str, content: bytes) -> None:
        keep_prompt(one.warehouse, "prompt")
        put_new(path, content)

    two.warehouse.prepare()
    monkeypatch.setattr(two.objects, "put_new", put_after_the_other)
    keep_prompt(two.warehouse, "prompt")
    shutil.rmtree(one.warehouse.folder / "prompts")
    for machine in machines:
        assert machine.warehouse.query("select text from prompts")["text"].to_list() == ["prompt"]


def test_a_partition_whose_writer_was_killed_before_it_was_published_does_not_count(
    machines: Machines, monkeypatch
):
    one, two = machines

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    one.warehouse.prepare()
    with monkeypatch.context() as patch:
        patch.setattr(one.objects, "put_new", killed)
        with pytest.raises(KeyboardInterrupt):
            one.write(7)
    assert len(one.objects.listed(TABLE)) == 1
    assert one.tokens() == two.tokens() == []
    two.write(8)
    assert one.tokens() == two.tokens() == [8]
    two.write(9)
    assert sweep(one.objects, kept=datetime.timedelta(seconds=-5))[0] == 3
    assert one.tokens() == two.tokens() == [9]


def test_a_partition_that_was_lost_in_the_store_is_named_and_can_be_made_again(machines: Machines):
    one, two = machines
    one.write(7)
    [stored] = one.objects.listed(TABLE)
    one.objects.remove([stored.path])
    with pytest.raises(StoreError, match="is missing"):
        two.tokens()
    two.write(8)
    assert two.tokens() == [8]


def test_a_partition_that_is_damaged_in_the_store_is_refused(machines: Machines):
    one, two = machines
    one.write(7)
    [stored] = one.objects.listed(TABLE)
    one.objects.remove([stored.path])
    one.objects.put_new(stored.path, b"other")
    with pytest.raises(StoreError, match=stored.path):
        two.tokens()
    assert two.fetched() == []
    assert not list(two.warehouse.folder.rglob("*.tmp"))


def test_names_of_strangers_in_the_store_are_no_partitions(machines: Machines):
    one, two = machines
    one.write(7)
    digest = "0123456789abcdef"
    for name in ("x.parquet", f"below/x-{digest}.parquet", f"{NAME}-{digest}.parquet"):
        one.objects.put_new(f"{TABLE}/shard={SHARD}/{name}", b"other")
    for name in (f"{SHARD}.json", f"{SHARD}/9.json", f"A b/{9:08d}.json"):
        one.objects.put_new(f"catalogue/{name}", b"other")
    assert two.tokens() == [7]


def test_an_upload_that_fails_changes_nothing(machines: Machines, monkeypatch):
    one, two = machines
    one.write(7)
    one.warehouse.partition_version(TABLE, SHARD, NAME)

    def gone(*_: object) -> None:
        raise StoreError("the store is gone")

    monkeypatch.setattr(one.objects, "put_file", gone)
    with pytest.raises(StoreError, match="the store is gone"):
        one.write(8)
    two.store.fetch({TABLE})
    assert one.tokens() == two.tokens() == [7]
    assert not list(one.warehouse.folder.rglob("*.tmp"))


def test_an_old_version_that_was_replaced_just_now_is_not_swept():
    now, removed = datetime.datetime.now(datetime.UTC), []
    written = [now - datetime.timedelta(days=9), now]
    objects = [
        StoredObject(f"files/m.json@{number:08d}", 1, time) for number, time in enumerate(written)
    ]
    store: Any = SimpleNamespace(
        listed=lambda folder="": [each for each in objects if each.path.startswith(folder)],
        remove=removed.extend,
        read=lambda _: b'{"files": {}}',
    )
    assert sweep(store) == (0, 0)
    assert removed == []


def test_the_sweep_removes_old_versions_and_contents_that_nothing_names(
    machines: Machines, tmp_path
):
    one, two = machines
    for tokens in (7, 8, 9):
        one.write(tokens)
    one.write(5, shard="shard-00001")
    one.warehouse.store.retire("shard-00001")
    settings = tmp_path / "one" / "toolformer.yaml"
    for text in ("a: 1", "a: 2"):
        settings.write_text(text)
        one.files.publish(settings)
    assert sweep(one.objects) == (0, 0)
    removed, freed = sweep(one.objects, kept=datetime.timedelta(seconds=-5))
    # Three versions of catalogues, two of a partition, one of the file, and its content.
    assert removed == 7
    assert freed > 0
    one.warehouse.store.restore("shard-00001")
    two.store.fetch({TABLE})
    assert sorted(two.tokens()) == [5, 9]
    copy = tmp_path / "two" / "toolformer.yaml"
    assert two.files.fetch(copy)
    assert copy.read_text() == "a: 2"
