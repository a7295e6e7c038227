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


@_expected("too_long")
def zstandard_line_of_ten_gigabytes(folder: Path) -> Path:
    """One frame of blocks that repeat a byte: four bytes for 128 KiB."""
    import zstandard

    window_of_a_megabyte, repeat = 0x50, 1
    block = (repeat << 1 | (128 << 10) << 3).to_bytes(3, "little") + b"x"
    last = (1 | repeat << 1 | 1 << 3).to_bytes(3, "little") + b"x"
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([window_of_a_megabyte]) + block * 82_000 + last
    good = zstandard.ZstdCompressor().compress(_GOOD_LINE)
    return _written(folder / "a.jsonl.zst", good, frame)


@_expected()
def zstandard_window_of_two_gigabytes(folder: Path) -> Path:
    """A frame of one byte whose header asks for the memory of 2 GiB."""
    import zstandard

    window = (31 - 10) << 3
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([window]) + (1 | 1 << 3).to_bytes(3, "little") + b"x"
    good = zstandard.ZstdCompressor().compress(_GOOD_LINE)
    return _written(folder / "a.jsonl.zst", good, frame)


@_expected("too_long")
def gzip_of_one_line(folder: Path) -> Path:
    """512 MB without an end of line."""
    line = gzip.compress(b" x" * (_MEGABYTE // 2))
    return _written(folder / "a.jsonl.gz", gzip.compress(_GOOD_LINE), line * 512)


@_expected()
def bzip2_of_newlines(folder: Path) -> Path:
    """Eight megabytes of empty lines in a few bytes."""
    newlines = bz2.compress(b"\n" * (8 * _MEGABYTE))
    return _written(folder / "a.jsonl.bz2", bz2.compress(_GOOD_LINE), newlines)


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
    """A text file of 3 GB that takes no room on the disk."""
    path = _written(folder / "a.txt", b"x")
    os.truncate(path, 3 << 30)
    return path


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


@_expected()
def parquet_of_one_word(folder: Path) -> Path:
    """A dictionary with one text of a megabyte, and 300 rows that point at it."""
    import pyarrow

    column = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] + [1] * 300, pyarrow.int32()), [GOOD_TEXT, "x" * _MEGABYTE]
    )
    return _parquet(folder, column, dictionary_pagesize_limit=4 * _MEGABYTE)


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
