import hashlib
import os
import time
from pathlib import Path

import pytest

from toolformer.base import digests as module
from toolformer.base.digests import cache_file_digests_in, file_digest


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    """A file whose digest may be kept at once, in a folder."""
    monkeypatch.setattr(module, "_SETTLED_SECONDS", -1)
    monkeypatch.setattr(module, "_STORED_BYTES", 0)
    monkeypatch.setattr(module, "_folders", [])
    monkeypatch.setattr(module, "_known", {})
    cache_file_digests_in(tmp_path / "kept")
    file = tmp_path / "weights"
    file.write_bytes(bytes(1000))
    return file


def edit(file: Path, content: bytes) -> None:
    """Write other bytes in its middle, and set the time of change back."""
    status = file.stat()
    time.sleep(0.02)
    with file.open("r+b") as stream:
        stream.seek(500)
        stream.write(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file.stat().st_mtime_ns == status.st_mtime_ns


def test_an_edit_with_size_and_time_set_back_is_seen(file):
    before = file_digest(file)
    edit(file, b"x")
    assert file_digest(file) == hashlib.sha256(bytes(500) + b"x" + bytes(499)).hexdigest() != before


def test_another_process_reads_a_file_again_only_if_the_stored_digest_is_unreadable(
    file, monkeypatch
):
    digest = file_digest(file)
    module._known.clear()
    with monkeypatch.context() as patched:
        patched.setattr(hashlib, "file_digest", None)
        assert file_digest(file) == digest
    (entry,) = module._folders[0].iterdir()
    for content in (b"", bytes(30), entry.read_bytes()[:30], b"7", b"[]", b'["x"]'):
        module._known.clear()
        entry.write_bytes(content)
        assert file_digest(file) == digest


def test_a_file_that_was_touched_just_now_is_read_again(file, monkeypatch):
    monkeypatch.setattr(module, "_SETTLED_SECONDS", 1000)
    file_digest(file)
    assert not module._known


def test_the_digest_of_a_small_file_is_not_written_down(file, monkeypatch):
    monkeypatch.setattr(module, "_STORED_BYTES", 1001)
    file_digest(file)
    assert module._known
    assert not module._folders[0].exists()


def test_a_name_that_is_no_text_is_as_good_as_any(file):
    other = file.rename(os.fsdecode(os.fsencode(file) + b"\xe9"))
    assert file_digest(other) == hashlib.sha256(bytes(1000)).hexdigest()
    assert len(list(module._folders[0].iterdir())) == 1


def test_a_folder_that_cannot_be_written_keeps_nothing_and_costs_nothing_else(file):
    module._folders[0].write_text("no folder")
    assert file_digest(file) == hashlib.sha256(bytes(1000)).hexdigest()
