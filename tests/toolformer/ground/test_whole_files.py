import errno
from pathlib import Path

import pytest

from toolformer.ground.whole_files import replacing


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    target = tmp_path / "file.duckdb"
    target.write_text("old")

    def write() -> None:
        with replacing(target) as temporary:
            temporary.write_text("new")
            # DuckDB's log, which it cannot write out on a full disk.
            temporary.with_name(f"{temporary.name}.wal").write_text("log")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write()
    assert [file.name for file in tmp_path.iterdir()] == ["file.duckdb"]
    assert target.read_text() == "old"
