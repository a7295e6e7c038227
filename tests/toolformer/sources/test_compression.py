"""Compressed files are read to their last byte, or are an error."""

import bz2
import gzip
import json
import lzma
import os
from functools import cache, partial

import pytest
import zstandard

from tests.faults.bombs import zstandard_window_of_two_gigabytes
from tests.toolformer.sources.conftest import outcomes, parsed
from toolformer.sources.errors import SourceError
from toolformer.sources.files import list_files
from toolformer.sources.readers import read_documents

COMPRESSIONS = {
    ".gz": gzip.compress,
    ".bz2": partial(bz2.compress, compresslevel=1),
    ".xz": partial(lzma.compress, preset=0),
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}
# Random letters, so that many blocks are stored and most of them are before a cut.
LINES = "".join(json.dumps({"text": os.urandom(400).hex()}) + "\n" for _ in range(600)).encode()


@cache
def compressed(suffix: str) -> bytes:
    """The lines as a file of this suffix has them."""
    return COMPRESSIONS.get(suffix, bytes)(LINES)


@pytest.mark.parametrize("suffix", ["", *COMPRESSIONS])
def test_streams_of_every_compression_are_read_to_the_last(written, suffix):
    stored = compressed(suffix)
    texts = outcomes(written(f"a.jsonl{suffix}", stored + stored))
    assert texts == [json.loads(line)["text"] for line in LINES.splitlines()] * 2


@pytest.mark.parametrize("suffix", COMPRESSIONS)
@pytest.mark.parametrize("member", [0, 1])
def test_a_file_that_breaks_off_is_an_error_that_names_the_place(written, suffix, member):
    stored = compressed(suffix)
    source = written(f"a.jsonl{suffix}", stored * member + stored[: len(stored) * 3 // 4])
    with pytest.raises(SourceError, match=r"'\S+' cannot be read after record (\d+): ") as raised:
        parsed(source)
    assert "None of its records were stored" in str(raised.value)


@pytest.mark.parametrize("suffix", COMPRESSIONS)
@pytest.mark.parametrize("place", [0, 1, 3, 0.5, -1])
def test_a_changed_byte_in_a_second_member_is_an_error(written, suffix, place):
    """Libraries ignore what follows the first member if it does not look like another one."""
    first = second = compressed(suffix)
    place = int(place * len(second)) if isinstance(place, float) else place % len(second)
    damaged = second[:place] + bytes([second[place] ^ 0xFF]) + second[place + 1 :]
    with pytest.raises(SourceError, match="cannot be read after record"):
        parsed(written(f"a.jsonl{suffix}", first + damaged))


def test_zero_bytes_between_and_after_members_are_padding(written):
    packed = gzip.compress(b'{"text": "one"}\n')
    assert outcomes(written("a.jsonl.gz", (packed + b"\0" * 5000) * 2)) == ["one"] * 2


def test_a_file_that_changes_while_it_is_read_is_an_error(written, tmp_path):
    source = written("a.jsonl", b'{"text": "one"}\n' * 1000)
    items = read_documents(source, list_files(source))
    assert next(items)
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b'{"text": "two"}\n')
    with pytest.raises(SourceError, match="it changed while being read"):
        list(items)


def test_a_window_of_two_gigabytes_is_refused(tmp_path, source_of):
    with pytest.raises(SourceError, match="too much memory"):
        parsed(source_of(zstandard_window_of_two_gigabytes(tmp_path)))


@pytest.mark.parametrize("window_log", [20, 27])
def test_files_of_long_windows_are_read(written, window_log):
    parameters = zstandard.ZstdCompressionParameters(window_log=window_log, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = compressor.compress(LINES) + compressor.flush()
    assert len(outcomes(written("a.jsonl.zst", packed))) == 600
