"""Delta Lake logs over the slices as they are, for programs that read Delta tables.

`<table>/_delta_log/<number>.json` adds and removes files; all of them in order name the newest
versions of the slices. The lines are written without the package `deltalake`, which has 140 MB and
writes no table that asks other writers to keep away.
"""

import json
import os
import re
import time
import uuid
from pathlib import Path
from typing import Any

from toolformer.ground.whole_files import beside, flush, remove_abandoned
from warehouse.errors import DeltaLogError, StorageError
from warehouse.layout import list_slices, table_folder
from warehouse.schema import TableSchema, table_schema
from warehouse.versions import names_in

LOG_FOLDER = "_delta_log"

_COMMIT = re.compile(r"\d{20}\.json")
# Readers look at the first number alone. A writer has to refuse features that it does not know: an
# optimizer of tables would put rows of its own between the slices.
_PROTOCOL = {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["toolformer"]}
_CONFIGURATION = {
    # Some programs vacuum without asking for features; slices that no log names yet outlive that.
    "delta.deletedFileRetentionDuration": "interval 36500 days",
    # Whoever adds a checkpoint would remove the commits before it, which a refresh reads.
    "delta.enableExpiredLogCleanup": "false",
}
# Names in Delta Lake of SQL types that have another one there.
_TYPES = {"varchar": "string", "bigint": "long"}
_STRUCT_FIELD = re.compile(r"(\w+) (\w+)")


def refresh_delta_log(folder: Path, table: str) -> tuple[int, int] | None:
    """Makes the log of a table name the newest versions of its slices, and no other file.

    Any number of processes may do so at once. A table without rows has a log with its columns.

    Returns:
        How many files were added and removed; None where the log was up to date.

    Raises:
        UnknownTableError: There is no such table.
        DeltaLogError: The log is not one that this project wrote.
        StorageError: The disk refused the write; the log is as it was.
    """
    log = table_folder(folder, table) / LOG_FOLDER
    try:
        log.mkdir(parents=True, exist_ok=True)
        remove_abandoned(log.glob("*.tmp"))
        while True:
            try:
                return _commit_changes(folder, table_schema(table), log)
            except FileExistsError:
                # Another process has committed since the log was read.
                continue
    except OSError as error:
        raise StorageError(
            f"Cannot write the Delta Lake log '{log}': {error}. Check the permissions and the free "
            "space of its folder, which has to allow hard links, and run the same again; the rows "
            "are intact, and the log is as it was."
        ) from error


def _commit_changes(folder: Path, schema: TableSchema, log: Path) -> tuple[int, int] | None:
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
        file = {"path": path, "partitionValues": {}, "size": slices[path].bytes}
        actions.append({"add": {**file, "modificationTime": now, "dataChange": True}})
    if not actions:
        return None
    actions.insert(0, {"commitInfo": {"timestamp": now, "operation": "toolformer export delta"}})
    _put_if_absent(log / _commit_name(commits), actions)
    return len(added), len(removed)


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
    fields = [
        _field(column.name, column.type, comment=column.description) for column in schema.columns
    ]
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
    delta_type: str | dict[str, Any] = _TYPES.get(sql_type, sql_type)
    if sql_type.startswith("struct("):
        fields = _STRUCT_FIELD.findall(sql_type.removeprefix("struct("))
        struct = {"type": "struct", "fields": [_field(*field) for field in fields]}
        delta_type = {"type": "array", "elementType": struct, "containsNull": True}
    # A slice that is older than a column has no value in it, whatever `schema.sql` asks for.
    return {"name": name, "type": delta_type, "nullable": True, "metadata": metadata}
