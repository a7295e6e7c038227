"""The harness itself: it sees what it is there to see, and nothing of it stays behind."""

from tests.cluster.verdict import not_made_once, torn
from tests.homes import SmallHome
from tests.warehouse.rows import SHARD, put


def test_what_was_made_again_or_is_torn_is_noticed(tmp_path):
    assert not_made_once({("documents", SHARD, "all"): 1}) == []
    assert len(not_made_once({("documents", SHARD, "all"): 2})) == 1
    warehouse = SmallHome(tmp_path).warehouse
    put(warehouse, "documents", fingerprint="x")
    [info] = warehouse.partitions("documents")
    assert info.path is not None
    assert torn(tmp_path) == []
    info.path.write_bytes(info.path.read_bytes()[:-1])
    assert torn(tmp_path) == [f"{info.path.name} is torn"]
    info.path.unlink()
    assert torn(tmp_path) == [f"{info.path.name} is torn"]
