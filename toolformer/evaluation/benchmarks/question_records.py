"""Records of question files: JSON lines, a JSON document, ASDiv's XML, TSV or Parquet."""

import codecs
import csv
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any, TypeAlias
from xml.etree import ElementTree

from toolformer.evaluation.benchmarks.benchmark import BenchmarkFileError
from toolformer.evaluation.benchmarks.rows import InvalidRowError, excerpt
from toolformer.sources.compression import Allowance, decompressed, usual_file_bytes
from toolformer.sources.errors import ExpansionError

# A record is its columns by name, or why it has none.
Record: TypeAlias = dict[str, object] | InvalidRowError

# Of one file, decompressed. The largest public one that we know of, TriviaQA's, has about a fifth.
_MAX_BYTES = 1 << 30
_EXPECTED = (
    "JSON lines (an object a line), one JSON document, ASDiv's XML, Parquet, or a table with tabs "
    "between its columns and their names in the first line"
)


def read_records(path: Path) -> Iterator[tuple[int, Record]]:
    """Yields the records of a file with their numbers: the line, or the place in the document.

    JSON lines, XML and Parquet are read as they come; a JSON document is held in memory. The last
    suffix names the compression, the content the format.

    Raises:
        BenchmarkFileError: It is missing, unreadable, empty, damaged or of an unknown format.
    """
    with _clear_errors(path), path.open("rb") as stored:
        maximum = min(_MAX_BYTES, usual_file_bytes(path.stat().st_size))
        if stored.peek().startswith(b"PAR1"):
            yield from enumerate(_parquet_records(stored, Allowance(stored, maximum)), 1)
            return
        lines = io.BufferedReader(decompressed(stored, path.name, maximum))
        numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
        first = next(numbered, None)
        if first is None:
            raise BenchmarkFileError(
                f"The file {str(path)!r} is empty; expected {_EXPECTED}. Fetch it again."
            )
        number, line = first[0], first[1].removeprefix(codecs.BOM_UTF8)
        numbered = chain([(number, line)], numbered)
        match line.lstrip()[:1]:
            case b"{" if _is_json_line(line):
                yield from ((number, _record_in(line)) for number, line in numbered)
            case b"{" | b"[":
                yield from _document_records(list(numbered))
            case b"<":
                yield from enumerate(_problems_in(line for _, line in numbered), 1)
            case _ if b"\t" in line:
                yield from _table_records(line for _, line in numbered)
            case _:
                begin = excerpt(line[:40].decode("utf-8", "replace"))
                raise ValueError(f"it begins with {begin}")


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except ExpansionError as error:
        raise BenchmarkFileError(
            f"The file {str(path)!r} grows too far when it is unpacked: it is larger than any "
            "benchmark, or made to fill the disk. If it is to be trusted, cut it into parts."
        ) from error
    # Decompressors raise EOFError, zlib.error or OSError for what is wrong in the data, the XML
    # parser LookupError for an encoding that it does not know, Arrow also NotImplementedError.
    except (
        ElementTree.ParseError,
        EOFError,
        LookupError,
        NotImplementedError,
        OSError,
        ValueError,
        zlib.error,
    ) as error:
        if isinstance(error, BenchmarkFileError):
            raise
        raise BenchmarkFileError(
            f"The file {str(path)!r} cannot be read to its end: {error}. Expected {_EXPECTED}, "
            "plain or with the suffix of its compression (.gz, .bz2, .zst). Fetch it again."
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
        content = json.loads(b"".join(line for _, line in numbered))
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


def _parquet_records(stored: IO[bytes], allowance: Allowance) -> Iterator[Record]:
    from pyarrow import parquet

    for batch in parquet.ParquetFile(stored).iter_batches():
        allowance.spend(batch.nbytes)
        # Days and decimals become texts.
        yield from (json.loads(json.dumps(row, default=str)) for row in batch.to_pylist())


def _table_records(lines: Iterable[bytes]) -> Iterator[tuple[int, Record]]:
    rows = csv.DictReader((line.decode("utf-8") for line in lines), delimiter="\t", strict=True)
    try:
        for row in rows:
            number, columns = rows.line_num, len(rows.fieldnames or ())
            # What is missing is None, and what is too much has None as its name.
            if None in row or None in row.values():
                yield number, InvalidRowError(f"it has not {columns} columns as the first line")
            else:
                yield number, {**row}
    except csv.Error as error:
        raise ValueError(f"behind line {rows.line_num} of its table: {error}") from error


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
