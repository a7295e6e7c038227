import gzip
import io
import json

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.bombs import GOOD_TEXT, gzip_of_one_line, zstandard_window_of_two_gigabytes
from tests.toolformer.sources.conftest import DUMP_HEAD, outcomes, page_xml, raw_records
from toolformer.sources import compression, readers
from toolformer.sources.compression import decompressed
from toolformer.sources.source import Source
from toolformer.sources.wiki_markup import is_costly

LINES = b"".join(json.dumps({"text": f"Text {number}."}).encode() + b"\n" for number in range(1000))


def test_what_comes_before_the_limit_of_bytes_is_kept(written, monkeypatch):
    monkeypatch.setattr(compression, "CHUNK_BYTES", 1000)
    packed = gzip.compress(LINES) * 20
    limit = (len(LINES) + 500_000) * 15
    found = outcomes(written("a.jsonl.gz", packed, maximum_file_bytes=limit))
    assert found[-1] == "decompression_limit"
    assert len(found) > 10_000
    assert set(found[:-1]) == {f"Text {number}." for number in range(1000)}


@pytest.mark.slow
def test_a_file_that_grows_far_is_read_when_the_source_allows_it(tmp_path, source_of):
    path = gzip_of_one_line(tmp_path)
    assert outcomes(source_of(path)) == [GOOD_TEXT, "decompression_limit"]
    assert outcomes(source_of(path, maximum_file_bytes=1 << 30)) == [GOOD_TEXT, "too_long"]


def test_a_large_window_is_refused_with_the_remedy(tmp_path, source_of):
    path = zstandard_window_of_two_gigabytes(tmp_path)
    *_, refused = raw_records(source_of(path))
    assert refused.reason == "decompression_limit"
    assert "over 128 MiB. Compress the file again" in str(refused.raw)


@pytest.mark.parametrize("window_log", [20, 27])
def test_files_of_long_windows_are_read(written, window_log):
    parameters = zstandard.ZstdCompressionParameters(window_log=window_log, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = compressor.compress(LINES) + compressor.flush()
    assert len(outcomes(written("a.jsonl.zst", packed))) == 1000


@given(st.lists(st.sampled_from([b"a", b" ", b"\n", b"\r\n", b"\t", b"bc"])).map(b"".join))
def test_lines_have_their_numbers_and_are_as_written(content: bytes):
    stream = decompressed(io.BytesIO(content), "a.jsonl")
    records = readers._read_lines("a.jsonl", stream, Source("a.jsonl", shard_size=1))
    lines = [
        (number, line.rstrip("\r")) for number, line in enumerate(content.decode().split("\n"))
    ]
    expected = [(number, line) for number, line in lines if line.strip()]
    assert [(record.offset, record.raw) for record in records] == expected


def test_blank_lines_take_next_to_no_time(written):
    """Two hundred million of them: one by one they would take a minute."""
    packed = gzip.compress(LINES[:19]) + gzip.compress(b"\n" * (1 << 20)) * 200
    limited = written("a.jsonl.gz", packed, maximum_file_bytes=1 << 30)
    assert outcomes(limited) == ["Text 0.", "decompression_limit"]


def test_pages_before_damage_in_the_same_chunk_are_read_each_in_its_last_revision(written):
    second = "<revision><text>" + "new " * 50 + "</text></revision></page>"
    page = page_xml("A", "old " * 50).replace("</page>", second)
    found = outcomes(written("a.xml", DUMP_HEAD + page * 3 + "<page></wrong></page></mediawiki>"))
    assert found == [("new " * 50).strip()] * 3 + ["damaged_source"]


@pytest.mark.parametrize(
    "markup",
    [
        *("}}" * 3_000 + "={{a|" * 3_000, "{|\n" * 2_000, "<ref>" * 2_000 + "</b>" * 2_000),
        *('<b a="' * 2_000, "[http://a " * 2_000, "<!--" * 2_000, "\n" + ";" * 600_000),
    ],
)
def test_markup_that_would_take_minutes_is_known(markup):
    assert is_costly(markup)


def test_long_but_regular_markup_is_parsed():
    rows = "|-\n| [[a|b]] || {{c|d|}} <br> [http://a.org b]<ref name=x />\n" * 5_000
    assert not is_costly("{|\n" + rows + "|}")
