"""The drawn warehouse of the benchmarks keeps every rule of a real one."""

import numpy as np

from benchmarks.large_warehouse import identifiers, shard_frames
from tests.warehouse.rows import SHARD, new_warehouse, wrong_counts


def test_a_drawn_shard_is_stored_counted_and_its_kept_calls_stand_in_texts(tmp_path):
    warehouse = new_warehouse(tmp_path)
    generator = np.random.default_rng(0)
    for table, name, rows in shard_frames(generator, SHARD, identifiers(generator, 8), 200):
        warehouse.replace_partition(table, SHARD, name, rows, metadata={})
    assert wrong_counts(warehouse) == []
    statistics = warehouse.view("call_statistics")
    assert statistics.height == 5
    kept = statistics["kept"].sum()
    assert kept > 10
    merged = warehouse.query("select rows from call_funnel where stage = 'merged'")["rows"].sum()
    # Where two calls of one place are kept, the better one wins.
    assert kept - 3 <= merged <= kept
    texts = warehouse.ask("annotated_texts", texts=300)
    assert texts["is_kept"].sum() == merged
