"""The home of many shards is one that a build has finished."""

import json
from concurrent.futures import ThreadPoolExecutor

from benchmarks import many_shards, shard_homes
from toolformer.home.home import Home
from toolformer.sources.manifest import Manifest


def test_a_grown_home_has_its_shards_and_a_build_would_do_nothing(tmp_path, monkeypatch):
    # Processes take seconds to begin.
    monkeypatch.setattr(shard_homes, "ProcessPoolExecutor", lambda **_: ThreadPoolExecutor(1))
    home = Home(tmp_path)
    shard_homes.grow(home, 1, calls=20)
    shard_homes.grow(home, 3, calls=20)
    assert [entry.key for entry in Manifest.load(home.sources).active_shards] == [
        "shard-00000",
        "shard-00001",
        "shard-00002",
    ]
    steps = many_shards._STEPS
    assert steps["plan of an unchanged build"](home) == 0
    assert steps["list all partitions"](home) == 3 * 21
    assert steps["look whether sources changed"](home) == 0
    assert json.loads(json.dumps(many_shards._measured(home, "load the manifest")))["found"] == 3
    rows = shard_homes.warehouse_of(home).query("from candidate_counts")
    assert set(rows["shard"]) == {"shard-00000", "shard-00001", "shard-00002"}
