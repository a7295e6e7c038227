"""Damage costs what it is in: reading goes on at the next member, record, page or row group."""

import bz2
import gzip
import io
import json
import os
import random

import pyarrow
import pytest
import zstandard
from pyarrow import parquet

from tests.toolformer.sources.conftest import DUMP_HEAD, outcomes, page_xml, parsed
from tests.toolformer.sources.test_web_archives import record
from toolformer.sources.compression import decompressed
from toolformer.sources.errors import DamageError, SourceError
from toolformer.sources.records import ParsedDocument, Rejection

COMPRESS = {
    ".gz": lambda content: gzip.compress(content, mtime=0),
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def flipped(member: bytes, place: int) -> bytes:
    return member[:place] + bytes([member[place] ^ 0xFF]) + member[place + 1 :]


def lines_of(number: int) -> bytes:
    return b"".join(
        json.dumps({"text": f"Text {number}, line {line}."}).encode() + b"\n" for line in range(20)
    )


def read_all(stored: bytes, suffix: str) -> tuple[bytes, list[int]]:
    stream, content, skipped = decompressed(io.BytesIO(stored), f"a{suffix}"), [b""], []
    while True:
        try:
            content.append(stream.read())
        except DamageError as error:
            skipped.append(error.skipped)
            continue
        if not content[-1]:
            return b"".join(content), skipped


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("seed", range(8))
def test_a_flipped_byte_costs_no_other_member(suffix, seed):
    chance = random.Random(seed)
    contents = [chance.randbytes(chance.randrange(5_000)).hex().encode() for _ in range(8)]
    members = [COMPRESS[suffix](content) for content in contents]
    # Behind the head, in which some bits mean nothing.
    place = chance.randrange(18, len(members[3]))
    stored = b"".join([*members[:3], flipped(members[3], place), *members[4:]])
    content, skipped = read_all(stored, suffix)
    assert content.startswith(b"".join(contents[:3]))
    assert content.endswith(b"".join(contents[4:]))
    assert len(skipped) == 1
    assert 0 < skipped[0] <= len(members[3])


@pytest.mark.parametrize("suffix", COMPRESS)
def test_lines_around_a_damaged_member_are_read_and_its_bytes_are_counted(written, suffix):
    members = [COMPRESS[suffix](lines_of(number)) for number in range(5)]
    damaged = flipped(members[2], len(members[2]) // 2)
    source = written(f"a.jsonl{suffix}", b"".join([*members[:2], damaged, *members[3:]]))
    items = parsed(source)
    (rejection,) = [item for item in items if isinstance(item, Rejection)]
    assert (rejection.reason, rejection.losses) == (
        "damaged_source",
        {"damaged_bytes": len(damaged)},
    )
    assert f"{len(damaged)} bytes were passed over" in rejection.excerpt
    assert [item for item in outcomes(source) if item.startswith("Text 3")] == [
        f"Text 3, line {line}." for line in range(20)
    ]
    assert len(items) == 81


def test_of_a_member_with_a_wrong_checksum_nothing_is_shown(written):
    """Its letters are wrong somewhere, and nobody knows where."""
    members = [COMPRESS[".gz"](lines_of(number)) for number in range(3)]
    wrong = members[1][:-8] + b"\0\0\0\0" + members[1][-4:]
    found = outcomes(written("a.jsonl.gz", members[0] + wrong + members[2]))
    assert [text.split(",")[0] for text in found] == [
        *["Text 0"] * 20,
        "damaged_source",
        *["Text 2"] * 20,
    ]


def test_garbage_and_padding_between_members_are_passed_over(written):
    first, second = (COMPRESS[".gz"](lines_of(number)) for number in range(2))
    padded = written("a.jsonl.gz", first + b"\0" * 5_000 + second)
    assert len(outcomes(padded)) == 40
    found = outcomes(written("b.jsonl.gz", first + os.urandom(3_000) + second))
    assert (len(found), found.count("damaged_source")) == (41, 1)


@pytest.mark.parametrize("suffix", ["", *COMPRESS])
@pytest.mark.parametrize("place", [0, 2, 3])
def test_archives_are_read_on_at_the_next_record(written, suffix, place):
    records = [record("conversion", f"Text {n}. ".encode() * 300) for n in range(4)]
    if suffix:
        records = [COMPRESS[suffix](each) for each in records]
        records[place] = flipped(records[place], len(records[place]) // 2)
    else:
        records[place] = records[place].replace(b"WARC/1.0", b"WARC/9.9")
    items = parsed(written(f"a.warc{suffix}", b"".join(records)))
    assert [isinstance(item, Rejection) for item in items] == [n == place for n in range(4)]
    assert all(item.source_offset == number for number, item in enumerate(items))
    assert items[place].losses == {"damaged_bytes": len(records[place])}


@pytest.mark.parametrize("difference", [-10, -1, -200])
def test_a_record_that_is_longer_than_it_says_costs_no_other(written, difference):
    contents = [f"Text {n}.".encode() * 30 for n in range(3)]
    wrong = record("conversion", contents[1], Content_Length=len(contents[1]) + difference)
    stored = record("conversion", contents[0]) + wrong + record("conversion", contents[2])
    first, _, damage, last = parsed(written("a.warc", stored))
    assert isinstance(first, ParsedDocument)
    assert isinstance(last, ParsedDocument)
    assert (first.text.encode(), last.text.encode()) == (contents[0], contents[2])
    # With the blank lines behind the record.
    assert damage.losses == {"damaged_bytes": 4 - difference}


@pytest.mark.parametrize("missing", [1, 4, 5, 7, 9, 10, 12, 30, 150, 10_000])
@pytest.mark.parametrize("name", ["a.warc", "a.wet.gz"])
def test_a_record_that_is_shorter_than_it_says_costs_no_other(written, missing, name):
    records = [record("conversion", f"Text {n}.".encode() * 2_000) for n in range(4)]
    html = record("response", b"HTTP/1.1 200 OK\r\n\r\n<p>" + b"a" * 20_000)
    chunk = b"4e20\r\n" + b"a" * 20_000 + b"\r\n0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked = record("response", head + chunk)
    for wrong in (records[1], html, chunked):
        cut = wrong[: -4 - missing] + b"\r\n\r\n"
        stored = b"".join([records[0], cut, cut, *records[2:]])
        items = parsed(written(name, gzip.compress(stored) if name.endswith("gz") else stored))
        texts = [item.text.strip() for item in items if isinstance(item, ParsedDocument)]
        whole = [f"Text {n}." * 2_000 for n in (0, 2, 3)]
        # With up to four bytes less, its end is the blank lines behind it.
        assert [text for text in texts if text in whole] == whole
        assert not any("WARC" in text for text in texts)
        assert missing <= 4 or texts == whole
        damaged = [item for item in items if isinstance(item, Rejection)]
        if missing > 4:
            assert [item.losses for item in damaged] == [{"damaged_bytes": len(cut)}] * 2
            assert all("another begins" in item.excerpt for item in damaged)


def test_damage_that_only_the_checksum_of_a_large_member_shows_is_told_as_such(written):
    # Stored without compression, so that one bit changes one letter.
    line = b'{"text": "%s"}\n' % b"Long. ".ljust(20_000, b"x")
    content = line * 120
    stored = flipped(gzip.compress(content, compresslevel=0), 100_000)
    items = parsed(written("a.jsonl.gz", stored))
    excerpts = [item.excerpt for item in items if isinstance(item, Rejection)]
    assert "of the same member, is wrong" in excerpts[-1]


@pytest.mark.parametrize(("suffix", "kind"), [(".gz", "gzip"), (".bz2", "bzip2"), (".zst", "Zst")])
def test_a_plain_file_with_the_name_of_a_compressed_one_is_told_as_such(written, suffix, kind):
    with pytest.raises(SourceError, match=f"is not {kind}"):
        parsed(written(f"a.jsonl{suffix}", lines_of(0)))


@pytest.mark.parametrize(
    "damage",
    [
        "<page><title>B</wrong>",
        "<page><title>B & C</title></page>",
        "\x00\x01 <page>\x02",
        "</page>",
    ],
)
def test_pages_around_malformed_xml_are_read(written, damage):
    words = "word " * 50
    xml = DUMP_HEAD + page_xml("A", words) + damage + page_xml("D", words) + "</mediawiki>"
    items = parsed(written("a.xml", xml))
    assert [item.reason for item in items if isinstance(item, Rejection)] == ["damaged_source"]
    # The addresses are still those of the head.
    urls = [item.url for item in items if isinstance(item, ParsedDocument)]
    assert urls == [f"https://fr.wikipedia.org/wiki/{title}" for title in "AD"]
    (lost,) = [item.losses["damaged_bytes"] for item in items if item.losses]
    assert 0 < lost <= len(damage) + len(page_xml("D", words))


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_multistream_dump_with_a_damaged_stream_is_read_on(written, suffix):
    pages = [page_xml(title, f"word{title} " * 60) for title in "ABCDE"]
    streams = [COMPRESS[suffix](part.encode()) for part in (DUMP_HEAD, *pages, "</mediawiki>")]
    streams[3] = flipped(streams[3], len(streams[3]) // 2)
    found = outcomes(written(f"a.xml{suffix}", b"".join(streams)))
    assert [text.split()[0] for text in found] == [
        *("wordA", "wordB", "damaged_source", "wordD", "wordE")
    ]


@pytest.fixture
def rows_of(tmp_path, source_of):
    """Reads a file of four row groups of ten, in which a change was made, as it was read."""
    path = tmp_path / "a.parquet"
    texts = [f"Text {number} {os.urandom(20).hex()}" for number in range(40)]
    table = pyarrow.table({"text": texts, "number": range(40)})
    parquet.write_table(
        table, path, row_group_size=10, use_dictionary=False, write_page_checksum=True
    )

    def read(change):
        path.write_bytes(change(path.read_bytes(), parquet.read_metadata(path)))
        items = parsed(source_of(path))
        lost = [item for item in items if isinstance(item, Rejection)]
        return [item.source_offset for item in items if isinstance(item, ParsedDocument)], lost

    return read


def test_a_damaged_row_group_costs_no_other_and_moves_no_row(rows_of):
    def change(stored, footer):
        chunk = footer.row_group(1).column(0)
        return flipped(stored, chunk.data_page_offset + chunk.total_compressed_size // 2)

    rows, (lost,) = rows_of(change)
    assert rows == [*range(10), *range(20, 40)]
    assert (lost.reason, lost.source_offset) == ("damaged_source", 10)
    assert "10 of 10 rows of row group 1 are lost: could not verify page integrity" in lost.excerpt


def test_rows_of_a_page_that_a_flipped_bit_hides_are_counted_as_lost(rows_of, tmp_path):
    def change(stored, footer):
        # The type in the page's head: an index is passed over as if it were not there.
        place = footer.row_group(1).column(0).data_page_offset + 1
        assert stored[place] == 0
        return stored[:place] + b"\2" + stored[place + 1 :]

    rows, (lost,) = rows_of(change)
    assert rows == [*range(10), *range(20, 40)]
    quarter = -(-(tmp_path / "a.parquet").stat().st_size // 4)
    assert lost.losses == {"damaged_bytes": quarter}
    assert "10 of 10 rows of row group 1 are lost: a column lacks values" in lost.excerpt


def test_no_row_has_the_date_of_another_where_a_page_of_one_column_is_hidden(source_of, tmp_path):
    path = tmp_path / "a.parquet"
    days = [f"2024-01-{number % 28 + 1:02}" for number in range(60)]
    texts = [f"Of {day}: {os.urandom(20).hex()}" for day in days]
    parquet.write_table(
        pyarrow.table({"text": texts, "date": days}),
        path,
        row_group_size=30,
        use_dictionary=False,
        compression="none",
        data_page_size=100,
        write_batch_size=10,
    )
    stored, chunk = path.read_bytes(), parquet.read_metadata(path).row_group(0).column(0)
    second_page = stored.index(b"\x15\x00", chunk.data_page_offset + 100)
    path.write_bytes(stored[: second_page + 1] + b"\2" + stored[second_page + 2 :])
    items = parsed(source_of(path, date_column="date"))
    found = [item for item in items if isinstance(item, ParsedDocument)]
    assert [item.text[3:13] for item in found] == [str(item.published_on) for item in found]
    assert len(found) == 30
    (lost,) = [item for item in items if isinstance(item, Rejection)]
    assert "30 of 30 rows of row group 0 are lost: a column lacks values" in lost.excerpt


@pytest.mark.parametrize(("column", "rows"), [("text", 0), ("number", 40)])
def test_metadata_of_a_column_that_pyarrow_cannot_take_cost_no_more_than_the_column(
    rows_of, source_of, tmp_path, column, rows
):
    """Asked for them, pyarrow ends the process: the sizes are of a column with missing values."""

    def change(stored, _footer):
        optional = b"\x25\x02\x18" + bytes([len(column)]) + column.encode()
        assert stored.count(optional) == 1
        return stored.replace(optional, optional.replace(b"\x02", b"\x00", 1))

    if rows:
        assert rows_of(change) == ([*range(rows)], [])
    else:
        with pytest.raises(SourceError, match="10 of 10 rows of row group 3 are lost: Definition"):
            rows_of(change)


def test_a_footer_whose_numbers_of_rows_disagree_is_refused_by_name(rows_of):
    def change(stored, _footer):
        assert stored.count(b"\x16\x50") == 1  # forty
        return stored.replace(b"\x16\x50", b"\x16\x52")

    with pytest.raises(SourceError, match=r"a\.parquet: its footer tells of 41 rows, and of 40 in"):
        rows_of(change)


@pytest.mark.parametrize(
    ("name", "texts", "lost"),
    [
        ("sound.warc.wet.gz", 5, []),
        ("one-damaged-member.warc.wet.gz", 4, [249]),
        ("short-length.warc.wet.gz", 5, [14]),
        ("clueweb-like.warc.gz", 5, []),
    ],
)
def test_the_damaged_archives_of_the_cases_lose_what_is_damaged(
    test_data, source_of, name, texts, lost
):
    items = parsed(source_of(test_data / "cases" / "08-warc-damage" / name))
    assert sum(isinstance(item, ParsedDocument) for item in items) == texts
    assert [item.losses["damaged_bytes"] for item in items if isinstance(item, Rejection)] == lost
    dates = sum(item.losses.get("dates", 0) for item in items)
    assert dates == (name == "clueweb-like.warc.gz")
