"""Files that are small where they are stored and take memory or time without bound when read.

Each function writes one below a folder and gives its path; the records before the bomb are good.
Nothing is compressed that could be repeated, so that none takes long to make.
"""

import bz2
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

GOOD_TEXT = "Two of these four texts hold 3 numbers, and 4 do not. "
_GOOD_LINE = json.dumps({"text": GOOD_TEXT}).encode() + b"\n"
_MEGABYTE = 1 << 20

Bomb = Callable[[Path], Path]
# Name to function, and to the reasons that reading its file must give, each once, in order.
BOMBS: dict[str, tuple[Bomb, list[str]]] = {}


def _expected(*reasons: str) -> Callable[[Bomb], Bomb]:
    def register(bomb: Bomb) -> Bomb:
        BOMBS[bomb.__name__] = (bomb, list(reasons))
        return bomb

    return register


def _written(path: Path, *parts: bytes) -> Path:
    with path.open("wb") as file:
        file.writelines(parts)
    return path


@_expected("decompression_limit")
def zstandard_line_of_ten_gigabytes(folder: Path) -> Path:
    """One frame of blocks that repeat a byte: four bytes for 128 KiB."""
    import zstandard

    window_of_a_megabyte, repeat = 0x50, 1
    block = (repeat << 1 | (128 << 10) << 3).to_bytes(3, "little") + b"x"
    last = (1 | repeat << 1 | 1 << 3).to_bytes(3, "little") + b"x"
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([window_of_a_megabyte]) + block * 82_000 + last
    good = zstandard.ZstdCompressor().compress(_GOOD_LINE)
    return _written(folder / "a.jsonl.zst", good, frame)


@_expected("decompression_limit")
def zstandard_window_of_two_gigabytes(folder: Path) -> Path:
    """A frame of one byte whose header asks for the memory of 2 GiB."""
    import zstandard

    window = (31 - 10) << 3
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([window]) + (1 | 1 << 3).to_bytes(3, "little") + b"x"
    good = zstandard.ZstdCompressor().compress(_GOOD_LINE)
    return _written(folder / "a.jsonl.zst", good, frame)


@_expected("decompression_limit")
def gzip_of_one_line(folder: Path) -> Path:
    """512 MB without an end of line."""
    line = gzip.compress(b" x" * (_MEGABYTE // 2))
    return _written(folder / "a.jsonl.gz", gzip.compress(_GOOD_LINE), line * 512)


@_expected("decompression_limit")
def bzip2_of_newlines(folder: Path) -> Path:
    """40 GB of empty lines in 50 KB."""
    newlines = bz2.compress(b"\n" * (40 * _MEGABYTE))
    return _written(folder / "a.jsonl.bz2", bz2.compress(_GOOD_LINE), newlines * 1000)


@_expected("invalid_json")
def nested_arrays(folder: Path) -> Path:
    """A line of 100,000 opening brackets."""
    return _written(folder / "a.jsonl", _GOOD_LINE, b"[" * 100_000, b"\n")


@_expected("too_long")
def empty_objects(folder: Path) -> Path:
    """A line of 36 MB with 12 million values, each 20 times as large in memory."""
    return _written(folder / "a.jsonl", _GOOD_LINE, b'{"text": [', b"{}," * (12 * _MEGABYTE))


@_expected("invalid_json")
def number_of_a_million_digits(folder: Path) -> Path:
    """A number whose digits take a time that grows with their square."""
    return _written(folder / "a.jsonl", _GOOD_LINE, b'{"text": ', b"9" * 1_000_000, b"}\n")


@_expected("repeated_key")
def duplicate_keys(folder: Path) -> Path:
    """One name a million times."""
    line = b'{"text": "x", ' + b'"text": "y", ' * 1_000_000 + _GOOD_LINE[1:]
    return _written(folder / "a.jsonl", _GOOD_LINE, line)


@_expected("too_long")
def line_of_gigabytes(folder: Path) -> Path:
    """A plain file of 1 GB that takes no room on the disk."""
    path = _written(folder / "a.jsonl", _GOOD_LINE, b"x")
    os.truncate(path, 1 << 30)
    return path


@_expected("too_long")
def text_of_gigabytes(folder: Path) -> Path:
    """A text file of 300 GB that takes no room on the disk."""
    path = _written(folder / "a.txt", b"x")
    os.truncate(path, 300 << 30)
    return path


def _dump(folder: Path, *parts: bytes) -> Path:
    text = (GOOD_TEXT * 5).encode()
    page = b"<page><title>A</title><ns>0</ns><revision><text>%b</text></revision></page>"
    return _written(folder / "a.xml", b"<mediawiki>", page % text, *parts)


@_expected("damaged_source")
def xml_without_pages(folder: Path) -> Path:
    """16 MB of elements, none of them a page."""
    elements = b"<a><b c='d'/></a>" * _MEGABYTE
    return _written(folder / "a.xml", b"<mediawiki>", elements, b"</mediawiki>")


@_expected("truncated_source")
def nested_elements(folder: Path) -> Path:
    """Five million elements, each within the other."""
    return _dump(folder, b"<page>", b"<a>" * (5 * _MEGABYTE))


@_expected("damaged_source", "truncated_source")
def attribute_without_end(folder: Path) -> Path:
    """An attribute of 100 MB."""
    return _dump(folder, b'<page a="', *[b"x" * _MEGABYTE] * 100)


@_expected("too_long", "truncated_source")
def page_without_end(folder: Path) -> Path:
    """A page whose text is 24 MB of lines and entities, and one that stops in the middle."""
    text = [b"&#x4e2d;\n" * (_MEGABYTE // 9)] * 24
    page = b"<page><title>B</title><ns>0</ns><revision><text>"
    return _dump(folder, page, *text, b"</text></revision></page>", page, b"x" * _MEGABYTE)


@_expected("damaged_source")
def entities_of_entities(folder: Path) -> Path:
    """A text that is a gigabyte once its entities are written out."""
    names = [f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10)]
    declared = f'<!DOCTYPE mediawiki [<!ENTITY e0 "0123456789">{"".join(names)}]>'
    good = _dump(folder, b"").read_bytes()
    page = b"<page><title>B</title><ns>0</ns><revision><text>&e9;</text></revision></page>"
    return _written(folder / "a.xml", declared.encode(), good, page, b"</mediawiki>")


@_expected("unparsable_markup")
def markup_without_end(folder: Path) -> Path:
    """Pages of markup that is opened and never closed, or of nothing but markup."""
    markups = (
        "{|\n" * 60_000,
        "&lt;ref&gt;" * 60_000,
        '&lt;b a="' * 60_000,
        "[http://a " * 60_000,
        "\n" + ";" * 2_000_000,
    )
    page = "<page><title>B</title><ns>0</ns><revision><text>%s</text></revision></page>"
    return _dump(folder, "".join(page % each for each in markups).encode(), b"</mediawiki>")


def _parquet(folder: Path, *columns: object, **settings: Any) -> Path:
    """Row groups, each of a column of texts."""
    import pyarrow
    from pyarrow import parquet

    path = folder / "a.parquet"
    tables = [pyarrow.table({"text": column}) for column in columns]
    with parquet.ParquetWriter(path, tables[0].schema, compression="zstd", **settings) as writer:
        for table in tables:
            writer.write_table(table)
    return path


@_expected("decompression_limit")
def parquet_of_one_word(folder: Path) -> Path:
    """A dictionary with one text of a megabyte, and ten thousand rows that point at it."""
    import pyarrow

    column = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] + [1] * 10_000, pyarrow.int32()), [GOOD_TEXT, "x" * _MEGABYTE]
    )
    return _parquet(folder, column, dictionary_pagesize_limit=4 * _MEGABYTE)


@_expected("missing_text", "decompression_limit")
def parquet_of_many_rows(folder: Path) -> Path:
    """Twenty million rows without a text in a few kilobytes."""
    import pyarrow

    empty = pyarrow.nulls(10_000_000, pyarrow.string())
    return _parquet(folder, [GOOD_TEXT], *[empty] * 2, data_page_size=1 << 30)


def _large_pages(folder: Path) -> Path:
    large = ["x" * (4 * _MEGABYTE)] * 70
    return _parquet(folder, [GOOD_TEXT], large, use_dictionary=False, data_page_size=1 << 30)


@_expected("decompression_limit")
def parquet_whose_footer_lies(folder: Path) -> Path:
    """The same, but the footer says that the page is small."""
    from pyarrow import parquet

    path = _large_pages(folder)
    chunk = parquet.read_metadata(path).row_group(1).column(0)
    told = _number(chunk.total_uncompressed_size)
    content = path.read_bytes()
    lie = bytes([0x80 | 100]) + b"\x80" * (len(told) - 2) + b"\x00"
    return _written(path, content.replace(told, lie))


def _number(value: int) -> bytes:
    """A positive number as the footer writes it."""
    value <<= 1
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


@_expected()
def parquet_with_a_nested_column(folder: Path) -> Path:
    """A column of twenty million numbers in one row, which nobody asked for."""
    import pyarrow
    from pyarrow import parquet

    numbers = pyarrow.nulls(20_000_000, pyarrow.int8()).fill_null(0)
    column = pyarrow.ListArray.from_arrays([0, len(numbers)], numbers)
    path = folder / "a.parquet"
    parquet.write_table(pyarrow.table({"text": [GOOD_TEXT], "date": column}), path)
    return path
