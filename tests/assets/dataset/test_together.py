"""Outputs of small shards that are made with one statement, against each made alone."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from assets.dataset import shard_run
from assets.inputs import RUN
from assets.outputs import Address, PartitionOutput
from tests.assets.conftest import SHARDS, MakeHome, PipelineHome
from warehouse.catalogue import read_catalogue

pytestmark = pytest.mark.slow

TABLES = ("filtered_calls", "augmented_texts")
# Keeps other calls, of one tool by contrast too.
CHANGED = {
    "tools": {
        "Calculator": {"filtering_threshold": 0.125, "contrast_threshold": 0.0},
        "Calendar": {"filtering_threshold": 0.0625},
    }
}


def stored(home: PipelineHome) -> dict[tuple[str, str, str], tuple[int, Mapping[str, Any], Any]]:
    """Rows, metadata and counts of what was made, by address."""
    return {
        (entry.table, shard, entry.name): (
            entry.rows,
            {name: entry.facts[name] for name in entry.facts.keys() - {RUN, "made_at"}},
            # Relations, which have no order.
            {
                name: sorted(map(repr, rows))
                for name, rows in json.loads(bytes(entry.counts)).items()
            },
        )
        for shard in SHARDS
        for entry in read_catalogue(home.home.warehouse, shard).entries(TABLES)
    }


def test_rows_counts_and_fingerprints_are_those_of_shards_made_alone(
    built_home: PipelineHome, copy_of: MakeHome, monkeypatch, no_model
):
    together, alone = copy_of(built_home, "together"), copy_of(built_home, "alone")
    before = stored(together)
    with monkeypatch.context() as patch:
        patch.setattr(PartitionOutput, "make", lambda output, _: pytest.fail(str(output.address)))
        together.build(overrides=CHANGED)
    monkeypatch.setattr(shard_run, "_RECORDS_TOGETHER", 0)
    alone.build(overrides=CHANGED)
    assert stored(together) == stored(alone) != before
    for table in TABLES:
        rows = together.rows(table)
        assert rows.equals(alone.rows(table))
        assert rows["shard"].unique().sort().to_list() == list(SHARDS)


def test_what_is_up_to_date_is_looked_at_once(
    built_home: PipelineHome, copy_of: MakeHome, monkeypatch, no_model
):
    looked_at, look = Counter[Address](), PartitionOutput.expected_if_stale
    monkeypatch.setattr(
        PartitionOutput,
        "expected_if_stale",
        lambda output: looked_at.update([output.address]) or look(output),
    )
    # The decisions of the other tools stay.
    copy_of(built_home, "again").build(
        overrides={"tools": {"Calendar": CHANGED["tools"]["Calendar"]}}
    )
    assert len(looked_at) > len(TABLES) * len(SHARDS)
    assert set(looked_at.values()) == {1}
