"""Judgements of people: `labels.jsonl` in the home, one JSON object per line.

No computer can make a judgement again, so the file is only ever appended to. It lies outside the
warehouse's folder, where files are replaced and swept.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from toolformer.base.whole_files import flush
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
    """Return the path of the judgements, in the home that holds this warehouse folder."""
    return folder.parent / "labels.jsonl"


def append_labels(folder: Path, labels: Iterable[Mapping[str, str]]) -> None:
    """Append judgements and flush them to the disk. The caller holds the home's lock `labels`.

    Raises:
        StorageError: The disk refused the lines, or took only the first ones.
    """
    file = labels_file(folder)
    lines = b"".join(json.dumps(dict(label)).encode() + b"\n" for label in labels)
    try:
        with file.open("ab+") as stream:
            stream.seek(max(stream.tell() - 1, 0))
            # A writer that was killed, or a full disk, left a line without an end.
            if stream.read(1) not in (b"", b"\n"):
                lines = b"\n" + lines
            stream.write(lines)
            stream.flush()
            os.fsync(stream.fileno())
        flush(file.parent)
    except OSError as error:
        raise storage_error(file, error) from error


def read_labels(folder: Path) -> tuple[list[str], str]:
    """Return the lines with a judgement, and which other lines there are; empty if none."""
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
        f"Damaged lines in '{file}': {len(damaged)}, namely {shown}. The judgements in all other "
        "lines count."
    )
