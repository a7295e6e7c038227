"""Reads and appends human judgements in the home's `labels.jsonl`, one JSON object per line.

A build cannot recompute a judgement. The file is therefore append-only and stored outside the
warehouse's folder, in which files are replaced and removed.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from toolformer.base.atomic_files import flush
from warehouse.partitions import storage_error
from warehouse.schema import sql_texts

REMEDY = "Correct these lines by hand, or copy them from a backup"
Label = Literal["useful", "not_useful", "unsure"]

_FIELDS = re.findall(r'"(\w+)": "varchar"', sql_texts("views")["labels"])
_REQUIRED = [(name, str) for name in _FIELDS if name not in ("label", "note")]
_decoder = msgspec.json.Decoder(
    msgspec.defstruct("Judgement", [*_REQUIRED, ("label", Label), ("note", str, "")])
)


def labels_file(folder: Path) -> Path:
    return folder.parent / "labels.jsonl"


def append_labels(folder: Path, labels: Iterable[Mapping[str, str]]) -> None:
    """Append judgements and flush them to disk. The caller must hold the home's lock `labels`."""
    file = labels_file(folder)
    lines = b"".join(json.dumps(dict(label)).encode() + b"\n" for label in labels)
    try:
        with file.open("ab+") as stream:
            stream.seek(max(stream.tell() - 1, 0))
            # A killed writer or a full disk can leave a last line without a line break.
            if stream.read(1) not in (b"", b"\n"):
                lines = b"\n" + lines
            stream.write(lines)
            stream.flush()
            os.fsync(stream.fileno())
        flush(file.parent)
    except OSError as error:
        raise storage_error(file, error) from error


def read_labels(folder: Path) -> tuple[list[str], str]:
    """Return the lines that hold a judgement, and a warning that lists damaged lines, or ""."""
    file = labels_file(folder)
    lines: list[str] = []
    damaged: list[str] = []
    content = file.read_bytes() if file.exists() else b""
    for number, line in enumerate(content.split(b"\n"), start=1):
        try:
            _decoder.decode(line)
            lines.append(line.decode())
        except ValueError:
            if line.strip():
                damaged.append(str(number))
    if not damaged:
        return lines, ""
    shown = ", ".join(damaged[:10]) + (", …" if len(damaged) > 10 else "")
    return lines, (
        f"'{file}' has damaged lines ({len(damaged)} in total): {shown}. The judgements in all "
        "other lines count."
    )
