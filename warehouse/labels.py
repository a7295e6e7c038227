"""Judgements of people: `labels.jsonl` in the home, one JSON object per line.

No computer can make a judgement again, so the file is only ever appended to. It lies outside the
warehouse's folder, where files are replaced and swept.
"""

import errno
import functools
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

from toolformer.base.whole_files import flush
from warehouse.connection import sql_literal
from warehouse.partitions import storage_error
from warehouse.schema import sql_texts

LABEL_LINES = "label_lines"
"""The relation that the view `labels` reads: the lines of the file, in a column `line`."""

REMEDY = "Correct these lines by hand, or copy them from a backup"

_FIELDS = re.findall(r'"(\w+)": "varchar"', sql_texts("views")["labels"])
_JUDGEMENTS = ("useful", "not_useful", "unsure")
_LOGGER = logging.getLogger(__name__)


def labels_file(folder: Path) -> Path:
    """Return the path of the judgements, in the home that holds this warehouse folder."""
    return folder.parent / "labels.jsonl"


def append_label(folder: Path, label: Mapping[str, str]) -> None:
    """Append a judgement and flush it to the disk. The caller holds the home's lock `labels`.

    Raises:
        StorageError: The disk refused the line, or took only its beginning.
    """
    file = labels_file(folder)
    line = json.dumps(dict(label)).encode() + b"\n"
    try:
        # The whole line in one write: no other process can write into the middle of it.
        with file.open("ab+", buffering=0) as stream:
            if stream.tell():
                stream.seek(-1, os.SEEK_END)
                # A writer that was killed, or a full disk, left a line without an end.
                if stream.read(1) != b"\n":
                    line = b"\n" + line
            if stream.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(stream.fileno())
        flush(file.parent)
    except OSError as error:
        raise storage_error(file, error) from error


def read_label_lines(folder: Path) -> list[str]:
    """Return the lines that hold a judgement, and log once how many do not."""
    lines, damaged = _read(folder)
    if damaged:
        _log_once(f"{damage_of_labels(folder)} {REMEDY}.")
    return lines


def damage_of_labels(folder: Path) -> str:
    """Return what is wrong with the lines that hold no judgement; empty if all hold one."""
    _, damaged = _read(folder)
    if not damaged:
        return ""
    shown = ", ".join(map(str, damaged[:10])) + (", …" if len(damaged) > 10 else "")
    return (
        f"Damaged lines in '{labels_file(folder)}': {len(damaged)}, namely {shown}. The judgements "
        "in all other lines count."
    )


def label_lines_source(file_sql: str) -> str:
    """Return the SQL that reads the lines of the file whose path the SQL `file_sql` gives.

    As CSV without separators: DuckDB 1.3 and 1.4 read JSON beyond the end of a damaged line.
    """
    return (
        f"select line from read_csv({file_sql}, columns = {{{sql_literal('line')}: 'varchar'}}, "
        "header = false, auto_detect = false, delim = '', quote = '', escape = '', "
        "strict_mode = false, ignore_errors = true)"
    )


@functools.cache
def _log_once(text: str) -> None:
    _LOGGER.warning("%s", text)


def _read(folder: Path) -> tuple[list[str], list[int]]:
    """Return the lines with a judgement, and the numbers of those with something else."""
    try:
        content = labels_file(folder).read_bytes()
    except FileNotFoundError:
        return [], []
    lines: list[str] = []
    damaged: list[int] = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if _is_label(line):
            lines.append(line.decode())
        elif line.strip():
            damaged.append(number)
    return lines, damaged


def _is_label(line: bytes) -> bool:
    try:
        fields = json.loads(line.decode())
    except ValueError:
        return False
    if not isinstance(fields, dict) or any(fields.get(name) is None for name in _FIELDS):
        return False
    return fields["label"] in _JUDGEMENTS
