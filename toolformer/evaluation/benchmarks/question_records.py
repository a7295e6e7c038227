"""Reads the records of question files: JSON (lines), CSV, TSV, Parquet or ASDiv's XML."""

import codecs
import csv
import json
import lzma
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any, TypeAlias
from xml.etree import ElementTree

from toolformer.evaluation.benchmarks.benchmark import BenchmarkFileError
from toolformer.evaluation.benchmarks.question_rows import InvalidRowError, excerpt
from toolformer.sources.compression import decompressed
from toolformer.sources.files import detect_format
from toolformer.sources.readers import json_object, read_csv, read_lines
from toolformer.sources.tables import read_table

# Maximum length of a line, five times that of the longest known line (in TriviaQA).
_MAX_BYTES = 1 << 30
_EXPECTED = (
    "JSON lines (one object per line), a JSON document, ASDiv's XML, Parquet, or CSV or TSV with "
    "column names in the first line"
)
# Keys of the list of rows in a JSON document that is an object: TriviaQA, SQuAD.
_ROWS_OF_DOCUMENTS = ("Data", "data")
# Damaged files raise EOFError, zlib.error or OSError in decompressors, LookupError in the XML
# parser (unknown encodings), and also NotImplementedError in Arrow.
_DAMAGE = (EOFError, LookupError, NotImplementedError, OSError, ValueError)
_DAMAGE += (ElementTree.ParseError, csv.Error, lzma.LZMAError, zlib.error)
Record: TypeAlias = Mapping[str, Any] | InvalidRowError
"""Columns of a row by name, or the error of an unusable row."""


def read_records(path: Path) -> Iterator[tuple[int, Record]]:
    """Yield the records of a file, each with its line number or its number in the document.

    All formats except JSON documents are streamed. The last suffix determines the compression, and
    the content determines the format. Raises `BenchmarkFileError` if the file cannot be read.
    """
    with _readable(path), path.open("rb") as stored:
        if stored.peek().startswith(b"PAR1"):
            _, rows = read_table(stored, path.name)
            # Decimals and dates within lists become strings.
            yield from enumerate((json.loads(json.dumps(row, default=str)) for row in rows), 1)
            return
        content = decompressed(stored, path.name)
        begin = content.peek().removeprefix(codecs.BOM_UTF8).lstrip()
        line = begin.partition(b"\n")[0]
        if not begin:
            raise BenchmarkFileError(
                f"The file {str(path)!r} is empty. Expected {_EXPECTED}. Download it again."
            )
        if begin[:1] in b"{[":
            yield from _json_records(content)
        elif begin[:1] == b"<":
            yield from enumerate(_problems_in(content), 1)
        elif b"\t" in line or detect_format(path.name) == "csv":
            yield from _table_records(content, "\t" if b"\t" in line else ",")
        else:
            raise ValueError(f"it begins with {excerpt(line[:40].decode('utf-8', 'replace'))}")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except BenchmarkFileError:
        raise
    except _DAMAGE as error:
        raise BenchmarkFileError(
            f"The file {str(path)!r} cannot be read to its end: {error}. Expected {_EXPECTED}; a "
            "compressed file needs the suffix .gz, .bz2, .xz or .zst. Download it again."
        ) from error


def _json_records(content: IO[bytes]) -> Iterator[tuple[int, Record]]:
    """Yield the rows of a JSON document, or of JSON lines if the first line is a row."""
    lines = ((number + 1, _checked(line)) for number, line, _ in read_lines(content, _MAX_BYTES))
    first = next(lines)
    row, lines = json_object(first[1]), chain([first], lines)
    if isinstance(row, str) or _listed_rows(row) is not None:
        lines = list(lines)
        try:
            rows = _listed_rows(json.loads(b"\n".join(line for _, line in lines)))
        except (ValueError, RecursionError):
            # The content is JSON lines with a broken first line, rather than a broken document.
            rows = None
        if rows is not None:
            flat = chain.from_iterable(map(_questions_in, rows))
            yield from enumerate(map(_record, flat), 1)
            return
    for number, line in lines:
        value = json_object(line)
        yield number, _record(value)


def _checked(line: bytes) -> bytes:
    if len(line) > _MAX_BYTES:
        raise ValueError(f"a line has more than {_MAX_BYTES:,} bytes")
    return line


def _record(value: object) -> Record:
    if isinstance(value, Mapping):
        return value
    return InvalidRowError(f"it is {excerpt(value)}; expected a JSON object")


def _listed_rows(document: object) -> list[object] | None:
    if isinstance(document, Mapping):
        lists = (document.get(key) for key in _ROWS_OF_DOCUMENTS)
        return next((each for each in lists if isinstance(each, list)), None)
    return document if isinstance(document, list) else None


def _questions_in(row: object) -> Iterator[object]:
    """Yield the questions of a SQuAD article, merged with the columns of paragraph and article."""
    for key in ("paragraphs", "qas"):
        if isinstance(row, dict) and isinstance(row.get(key), list):
            around = {name: value for name, value in row.items() if name != key}
            for part in row[key]:
                yield from _questions_in({**around, **part} if isinstance(part, dict) else part)
            return
    yield row


def _problems_in(content: IO[bytes]) -> Iterator[Record]:
    """Yield the problems of ASDiv's XML: their attributes and the texts of their elements."""
    for _, element in ElementTree.iterparse(content):
        if element.tag == "Problem":
            yield {**element.attrib, **{part.tag: part.text or "" for part in element}}
            element.clear()


def _table_records(content: IO[bytes], delimiter: str) -> Iterator[tuple[int, Record]]:
    rows = read_csv(content, delimiter, _MAX_BYTES)
    header = next(rows, [])
    for number, row in enumerate(rows, 2):
        if len(row) == len(header):
            yield number, dict(zip(header, row, strict=True))
        else:
            message = f"it has {len(row)} columns; expected {len(header)}, as in the first line"
            yield number, InvalidRowError(message)
