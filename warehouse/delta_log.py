"""Delta Lake logs over the slices as they are, for programs that read Delta tables.

`<table>/_delta_log/<number>.json` adds and removes files; whoever reads all of them in order knows
the newest versions of the slices. Here only the next refresh reads a log. The lines are written
without the package `deltalake`: few kinds of them are enough, the package has 140 MB, and it
writes no table that asks other writers to keep away.
Does not choose when a log is refreshed.
"""

import json
import os
import re
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolformer.ground.whole_files import beside, flush, remove_abandoned
from warehouse.errors import DeltaLogError, SlicesChangingError, StorageError
from warehouse.layout import SliceInfo, list_slices, table_folder
from warehouse.schema import TableSchema, table_schema
from warehouse.slices import damaged_error
from warehouse.versions import names_in

LOG_FOLDER = "_delta_log"

_COMMIT = re.compile(r"\d{20}\.json")
_ATTEMPTS = 20
# Readers look at the first number alone. A writer has to refuse features that it does not know: an
# optimizer of tables would put rows of its own between the slices.
_PROTOCOL = {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["toolformer"]}
_CONFIGURATION = {
    # Some programs vacuum without asking for features; slices that no log names yet outlive that.
    "delta.deletedFileRetentionDuration": "interval 36500 days",
    # Whoever adds a checkpoint would remove the commits before it, which a refresh reads.
    "delta.enableExpiredLogCleanup": "false",
}
# SQL types and their names in Delta Lake.
_TYPES = {"varchar": "string", "bigint": "long"} | {
    name: name for name in ("integer", "double", "boolean", "date")
}
_STRUCT_FIELD = re.compile(r"(\w+) (\w+)")


@dataclass(frozen=True, slots=True)
class DeltaCommit:
    """What one refresh wrote into the log of a table.

    Attributes:
        table: Its name.
        version: Number of the commit, counted from 0.
        added, removed: How many files the table has gained and lost.
    """

    table: str
    version: int
    added: int
    removed: int


def refresh_delta_log(folder: Path, table: str) -> DeltaCommit | None:
    """Makes the log of a table name the newest versions of its slices, and no other file.

    Any number of processes may do so at once.

    Args:
        folder: Folder of the warehouse.
        table: Name of the table; one without rows has a log with its columns.

    Returns:
        What was committed; None where the log was up to date.

    Raises:
        UnknownTableError: There is no such table.
        DeltaLogError: The log is not one that this project wrote.
        DamagedSliceError: A slice cannot be read.
        SlicesChangingError: Others were ahead at every attempt.
        StorageError: The disk refused the write; the log is as it was.
    """
    log = table_folder(folder, table) / LOG_FOLDER
    try:
        log.mkdir(parents=True, exist_ok=True)
        remove_abandoned(log.glob("*.tmp"))
        for _ in range(_ATTEMPTS):
            try:
                return _refresh_once(folder, table_schema(table), log)
            except (FileExistsError, FileNotFoundError):
                # Another process committed, or a slice was moved away: both are seen next time.
                continue
    except OSError as error:
        raise StorageError(
            f"Cannot write the Delta Lake log '{log}': {error}. Check the permissions and the free "
            "space of its folder, which has to allow hard links, and run the same again; the rows "
            "are intact, and the log is as it was."
        ) from error
    raise SlicesChangingError(
        f"Others changed table '{table}' or its Delta Lake log at every attempt. Run the same "
        "again, or after the build."
    )


def _refresh_once(folder: Path, schema: TableSchema, log: Path) -> DeltaCommit | None:
    """Commits what has changed since the last commit.

    Raises:
        FileExistsError: Another process has committed since the log was read.
        FileNotFoundError: A slice was moved away since it was listed.
    """
    # The log comes first: then the slices are at least as new as what it names, and whoever
    # commits in between takes the number of this commit.
    commits, metadata, known = _read_log(log)
    slices = {
        info.path.relative_to(log.parent).as_posix(): info
        for info in list_slices(folder, schema.name)
    }
    added, removed = sorted(slices.keys() - known), sorted(known - slices.keys())
    now = time.time_ns() // 1_000_000
    actions: list[dict[str, Any]] = [] if commits else [{"protocol": _PROTOCOL}]
    wanted = {"id": str(uuid.uuid4()), "createdTime": now, **metadata, **_described(schema)}
    if wanted != metadata:
        actions.append({"metaData": wanted})
    for path in removed:
        actions.append({"remove": {"path": path, "deletionTimestamp": now, "dataChange": True}})
    for path in added:
        actions.append({"add": {"path": path, **_file_facts(schema, slices[path])}})
    if not actions:
        return None
    actions.insert(0, {"commitInfo": {"timestamp": now, "operation": "toolformer export delta"}})
    _put_if_absent(log / _commit_name(commits), actions)
    return DeltaCommit(schema.name, commits, len(added), len(removed))


def _read_log(log: Path) -> tuple[int, dict[str, Any], set[str]]:
    """Returns how many commits there are, what they say of the table, and the paths of its files.

    Raises:
        DeltaLogError: A commit is missing or cannot be read.
    """
    metadata: dict[str, Any] = {}
    paths: set[str] = set()
    names = sorted(name for name in names_in(log) if _COMMIT.fullmatch(name))
    for number, name in enumerate(names):
        try:
            if name != _commit_name(number):
                raise ValueError(f"{_commit_name(number)} is missing")
            for line in (log / name).read_text(encoding="utf-8").splitlines():
                action = json.loads(line)
                metadata = action.get("metaData", metadata)
                if "add" in action:
                    paths.add(action["add"]["path"])
                elif "remove" in action:
                    paths.discard(action["remove"]["path"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DeltaLogError(
                f"The Delta Lake log '{log}' is not as toolformer wrote it: {name}: {error}. "
                "Expected commits from 0 on without a gap. Remove that folder, which holds no "
                "rows, and run `toolformer export delta`, which begins it anew."
            ) from error
    return len(names), metadata, paths


def _commit_name(number: int) -> str:
    return f"{number:020d}.json"


def _put_if_absent(target: Path, actions: list[dict[str, Any]]) -> None:
    """Writes a commit, whole or not at all.

    Raises:
        FileExistsError: There is one of that number.
    """
    temporary = beside(target)
    try:
        lines = (json.dumps(action) + "\n" for action in actions)
        temporary.write_text("".join(lines), encoding="utf-8")
        flush(temporary)
        # A rename would replace the commit of another process; a link refuses.
        os.link(temporary, target)
        flush(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _described(schema: TableSchema) -> dict[str, Any]:
    fields = [_field(each.name, each.type, comment=each.description) for each in schema.columns]
    return {
        "name": schema.name,
        "description": schema.description,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": fields}),
        # `shard` is none: the files have it as a column, and readers would take it from two places.
        "partitionColumns": [],
        "configuration": _CONFIGURATION,
    }


def _field(name: str, sql_type: str, **metadata: str) -> dict[str, Any]:
    # A slice that is older than a column has no value in it, whatever `schema.sql` asks for.
    return {"name": name, "type": _delta_type(sql_type), "nullable": True, "metadata": metadata}


def _delta_type(sql_type: str) -> str | dict[str, Any]:
    if not sql_type.startswith("struct("):
        return _TYPES[sql_type]
    found = _STRUCT_FIELD.findall(sql_type.removeprefix("struct("))
    struct = {"type": "struct", "fields": [_field(name, kind) for name, kind in found]}
    return {"type": "array", "elementType": struct, "containsNull": True}


def _file_facts(schema: TableSchema, info: SliceInfo) -> dict[str, Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        with info.path.open("rb") as file:
            statistics: dict[str, Any] = {
                "numRecords": pyarrow.parquet.read_metadata(file).num_rows
            }
    # A footer of flipped bits can ask for any amount of memory.
    except (pyarrow.ArrowException, MemoryError) as error:
        raise damaged_error([info.path]) from error
    if not schema.is_cross_shard:
        # So a reader who asks for one shard opens its files alone.
        shard = {"shard": info.shard}
        statistics |= {"minValues": shard, "maxValues": shard, "nullCount": {"shard": 0}}
    return {
        "partitionValues": {},
        "size": info.bytes,
        "modificationTime": info.path.stat().st_mtime_ns // 1_000_000,
        "dataChange": True,
        "stats": json.dumps(statistics),
    }
