"""Which shards a build is planned for: those chosen, and of these those whose texts are there."""

import dataclasses
from pathlib import Path

import pytest

from assets.documents import DOCUMENTS
from dagster_project.runs.plan import BuildPlan, chosen_shards
from tests.dagster_project.test_plan import BOTH, ENTRY, settings_with, store, toolbox_of
from tests.warehouse.rows import frame
from toolformer.errors import ToolformerError
from toolformer.sources.errors import ShardNotFoundError
from toolformer.sources.manifest import Manifest, ShardEntry
from warehouse.layout import catalogue_file
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse


def manifest_with(*shards: tuple[str, bool]) -> Manifest:
    """Shards of these sources, and whether each is held out."""
    entries = [
        ShardEntry(f"shard-{number:05d}", source, number, 1, "d", is_held_out)
        for number, (source, is_held_out) in enumerate(shards)
    ]
    return Manifest(next_number=len(entries), shards=entries)


def test_all_shards_are_annotated_but_those_held_out_or_as_many_of_each_source():
    sources = [("a", True), ("a", False), ("a", False), ("b", False), ("b", True)]
    manifest, few = manifest_with(*sources), settings_with({"sampling": {"shards": 2}})
    held_out, first, second, of_other, _ = manifest.shards
    assert chosen_shards(manifest, [], settings_with()) == [first, second, of_other]
    assert chosen_shards(manifest, [], few) == [first, of_other]
    assert chosen_shards(manifest, [second.key], few) == [second]
    with pytest.raises(ToolformerError, match=f"so they are not annotated: {held_out.key}. "):
        chosen_shards(manifest, [second.key, held_out.key], settings_with())


def test_a_range_of_numbers_names_the_shards_in_it_that_are_annotated():
    manifest = manifest_with(*[("a", number == 2) for number in range(5)])
    zero, one, _, three, four = manifest.shards
    assert chosen_shards(manifest, ["1:4"], settings_with()) == [one, three]
    assert chosen_shards(manifest, [four.key, "3:100", "0:1"], settings_with()) == [
        four,
        three,
        zero,
    ]
    for name in ("5:9", "4:4", "4:1", "2:3"):
        with pytest.raises(
            ShardNotFoundError, match=f"The range {name}, .* has no shard to annotate"
        ):
            chosen_shards(manifest, [name], settings_with())
    for name in (":4", "1:", "1-4"):
        with pytest.raises(ShardNotFoundError, match=f"There is no shard '{name}'"):
            chosen_shards(manifest, [name], settings_with())


def test_where_all_shards_are_held_out_nothing_can_be_annotated():
    assert chosen_shards(manifest_with(), [], settings_with()) == []
    with pytest.raises(ToolformerError, match="All shards are held out"):
        chosen_shards(manifest_with(("a", True)), [], settings_with())


def test_shards_without_texts_are_left_out_where_none_will_come(warehouse: Warehouse):
    store(warehouse, settings_with(), toolbox_of(*BOTH))
    gone = dataclasses.replace(ENTRY, key="shard-00001")
    damaged = dataclasses.replace(ENTRY, key="shard-00002")
    rows = frame(DOCUMENTS, {"shard": damaged.key, "text": "one and one are two"})
    warehouse.replace_partition(DOCUMENTS, damaged.key, ALL, rows, metadata={"made_at": "now"})
    file = Path(catalogue_file(warehouse.folder, damaged.key))
    file.write_bytes(file.read_bytes().replace(b'"made_at"', b'"made_by"'))
    given = {"annotator": "model-1", "force": False}
    plan = BuildPlan(
        warehouse, settings_with(), toolbox_of(*BOTH), plans_missing_texts=False, **given
    )
    assert plan.of([ENTRY, gone, damaged]) == []
    assert plan.shards_without_texts == [gone, damaged]
    file.unlink()
    plan = BuildPlan(warehouse, settings_with(), toolbox_of(*BOTH), **given)
    assert {each.shard for each in plan.of([ENTRY, gone])} == {gone.key}
    assert plan.shards_without_texts == []


def test_what_is_worked_out_once_for_a_source_is_not_taken_for_another(warehouse: Warehouse):
    settings = settings_with({"corpus": {"sources": [{"path": "b.jsonl", "tools": ["Calendar"]}]}})
    other = dataclasses.replace(ENTRY, key="shard-00001", source="b.jsonl")
    store(warehouse, settings, toolbox_of(*BOTH))
    plan = BuildPlan(warehouse, settings, toolbox_of(*BOTH), annotator="model-1", force=False)
    alone = BuildPlan(warehouse, settings, toolbox_of(*BOTH), annotator="model-1", force=False)
    plan.of([ENTRY, other])
    assert plan.of([other]) == alone.of([other])
    address = "candidate_calls", "Calculator", other.source
    made = [each._own_fingerprints[address] for each in (plan, alone)]
    assert made[0] == made[1]
    assert made[0] != plan._own_fingerprints["candidate_calls", "Calculator", ENTRY.source]
