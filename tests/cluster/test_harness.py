"""The harness itself: it sees what it is there to see, and nothing of it stays behind."""

from pathlib import Path

from tests.cluster.observed import versions
from tests.cluster.verdict import not_made_once, torn
from tests.homes import SmallHome
from tests.warehouse.rows import SHARD, put

ADDRESS = ("documents", SHARD, "all")


def test_what_nobody_published_was_made_again_or_is_torn_is_noticed(tmp_path: Path):
    def publish() -> Path:
        put(SmallHome(tmp_path).warehouse, "documents", fingerprint="x")
        *_, (_, path) = sorted(versions(tmp_path))
        return path

    path = publish()
    assert (not_made_once({ADDRESS}, tmp_path), torn(tmp_path)) == ([], [])
    assert len(not_made_once({}, tmp_path)) == 1
    path.write_bytes(path.read_bytes()[:-1])
    assert torn(tmp_path) == [f"{path.name} is torn"]
    publish()
    assert len(not_made_once({ADDRESS}, tmp_path)) == 1
