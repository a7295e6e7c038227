"""Records of question files: JSON lines, a JSON document, ASDiv's XML, TSV or Parquet."""

import csv
import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias
from xml.etree import ElementTree

from toolformer.evaluation.benchmarks.benchmark import BenchmarkFileError
from toolformer.evaluation.benchmarks.rows import InvalidRowError, excerpt
from toolformer.sources.compression import decompressed
from toolformer.sources.files import detect_format
from toolformer.sources.readers import read_csv, read_lines
from toolformer.sources.tables import read_table

# A record is its columns by name, or why it has none.
Record: TypeAlias = dict[str, object] | InvalidRowError

# Of a JSON document, or a line. The largest public one that we know of, TriviaQA's, has a fifth.
_MAX_BYTES = 1 << 30
_EXPECTED = (
    "JSON lines (an object a line), one JSON document, ASDiv's XML, Parquet, CSV, or a table with "
    "tabs between its columns and their names in the first line"
)


def read_records(path: Path) -> Iterator[tuple[int, Record]]:
    """Yield the records of a file with their numbers: the line, or the place in the document.

    JSON lines, tables, XML and Parquet are read as they come; a JSON document is held in memory.
    The last suffix names the compression, the content the format.

    Raises:
        BenchmarkFileError: the file is missing, unreadable, empty, damaged or of an unknown format.
    """
    with _clear_errors(path), path.open("rb") as stored:
        if stored.peek().startswith(b"PAR1"):
            _, rows = read_table(stored, path.name)
            # Decimals and days within lists become texts.
            records = (json.loads(json.dumps(row, default=str)) for row in rows)
            yield from enumerate(records, 1)
            return
        lines = read_lines(decompressed(stored, path.name), _MAX_BYTES)
        numbered = ((number + 1, _checked(line)) for number, line, _ in lines)
        first = next(numbered, None)
        if first is None:
            raise BenchmarkFileError(
                f"The file {str(path)!r} is empty; expected {_EXPECTED}. Fetch it again."
            )
        line = first[1]
        numbered = chain([first], numbered)
        match line.lstrip()[:1]:
            case b"{" if _is_json_line(line):
                yield from ((number, _record_in(line)) for number, line in numbered)
            case b"{" | b"[":
                yield from _document_records(list(numbered))
            case b"<":
                yield from enumerate(_problems_in(line for _, line in numbered), 1)
            case _ if b"\t" in line or detect_format(path.name) == "csv":
                stored.seek(0)
                delimiter = "\t" if b"\t" in line else ","
                table = read_csv(decompressed(stored, path.name), delimiter, _MAX_BYTES)
                yield from _table_records(table)
            case _:
                begin = excerpt(line[:40].decode("utf-8", "replace"))
                raise ValueError(f"it begins with {begin}")


def _checked(line: bytes) -> bytes:
    if len(line) > _MAX_BYTES:
        raise ValueError(f"a line of it grows too far, to more than {_MAX_BYTES:,} bytes")
    return line


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    # Decompressors raise EOFError, zlib.error or OSError for what is wrong in the data, the XML
    # parser LookupError for an encoding that it does not know, Arrow also NotImplementedError.
    except (
        ElementTree.ParseError,
        EOFError,
        LookupError,
        NotImplementedError,
        OSError,
        ValueError,
        csv.Error,
        lzma.LZMAError,
        zlib.error,
    ) as error:
        if isinstance(error, BenchmarkFileError):
            raise
        raise BenchmarkFileError(
            f"The file {str(path)!r} cannot be read to its end: {error}. Expected {_EXPECTED}, "
            "plain or with the suffix of its compression (.gz, .bz2, .xz, .zst). Fetch it again."
        ) from error


def _is_json_line(line: bytes) -> bool:
    if not line.rstrip().endswith(b"}"):
        return False
    content = _record_in(line)
    # A document may be written in one line. A broken line is one of many.
    return isinstance(content, InvalidRowError) or _rows_in(content) is None


def _record_in(line: bytes) -> Record:
    try:
        return _record_of(json.loads(line))
    except (ValueError, RecursionError) as error:
        return InvalidRowError(f"it is not JSON ({error}); expected a JSON object")


def _record_of(content: object) -> Record:
    if isinstance(content, dict):
        return content
    return InvalidRowError(f"it is {excerpt(content)}; expected a JSON object")


def _document_records(numbered: list[tuple[int, bytes]]) -> Iterator[tuple[int, Record]]:
    try:
        content = json.loads(b"\n".join(line for _, line in numbered))
    except (ValueError, RecursionError) as error:
        # Rather lines, the first of which is broken, than a document that is broken.
        lines = [(number, _record_in(line)) for number, line in numbered]
        if all(isinstance(record, InvalidRowError) for _, record in lines):
            raise ValueError(f"it is not JSON ({error})") from error
        yield from lines
        return
    records = _rows_in(content)
    if records is None:
        raise ValueError(f"its JSON is {excerpt(content)}, without a list of rows")
    yield from enumerate(records, 1)


def _rows_in(content: object) -> Iterable[Record] | None:
    if isinstance(content, list):
        return map(_record_of, content)
    if isinstance(content, dict):
        for key, rows_of in _DOCUMENTS.items():
            if isinstance(content.get(key), list):
                return rows_of(content[key])
    return None


def _squad_rows(articles: list[object]) -> Iterator[Record]:
    for article in articles:
        for paragraph in _objects(article, "paragraphs"):
            if isinstance(paragraph, InvalidRowError):
                yield paragraph
                continue
            for question in _objects(paragraph, "qas"):
                if isinstance(question, dict):
                    question = {"context": paragraph.get("context"), **question}
                yield question


def _objects(parent: object, key: str) -> Iterator[Record]:
    children = parent.get(key) if isinstance(parent, dict) else None
    if isinstance(children, list):
        yield from map(_record_of, children)
    else:
        yield InvalidRowError(f"there is no list {key!r}; expected one as in SQuAD's JSON")


# Documents that hold their rows in a list below this key, and how they come out of it: TriviaQA's;
# SQuAD's, also used by MLQA.
_DOCUMENTS: dict[str, Callable[[list[object]], Iterable[Record]]] = {
    "Data": lambda rows: map(_record_of, rows),
    "data": _squad_rows,
}


def _table_records(rows: Iterator[list[str]]) -> Iterator[tuple[int, Record]]:
    header = next(rows, [])
    for number, row in enumerate(rows, 2):
        if len(row) == len(header):
            yield number, dict(zip(header, row, strict=True))
        else:
            yield number, InvalidRowError(f"it has not {len(header)} columns as the first line")


def _problems_in(lines: Iterable[bytes]) -> Iterator[Record]:
    """The problems of ASDiv's XML, with their attributes and the texts of their elements.

    Entities that grow to gigabytes are an error of the parser's own.
    """
    parser = ElementTree.XMLPullParser(["end"])
    for line in lines:
        parser.feed(line)
        events: Any = parser.read_events()
        for _, element in events:
            if element.tag == "Problem":
                yield {**element.attrib, **{part.tag: part.text or "" for part in element}}
                element.clear()
    parser.close()
