"""Delta Lake logs over the partitions as they are, for programs that read Delta tables.

`<table>/_delta_log/<number>.json` adds and removes files; all of them in order name the newest
versions of the partitions. The package `deltalake` cannot ask other writers to keep away.
"""

import json
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from toolformer.files.whole_files import remove_abandoned, write_new
from warehouse.errors import DeltaLogError, StorageError
from warehouse.layout import list_partitions, table_folder
from warehouse.schema import FIELD, TableSchema, table_schema

LOG_FOLDER = "_delta_log"
# Readers look at the first number alone. A writer has to refuse features that it does not know: an
# optimizer of tables would put rows of its own between the partitions.
_PROTOCOL = {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["toolformer"]}
_DELTA_TYPES = {"varchar": "string", "bigint": "long"}


def refresh_delta_log(folder: Path, table: str) -> tuple[int, int] | None:
    """Makes the log of a table name the newest versions of its partitions, and no other file.

    Any number of processes may do so at once. A table without rows has a log with its columns.
    Returns how many files were added and removed; None where the log was up to date.

    Raises:
        DeltaLogError: The log is not one that this project wrote.
        StorageError: The disk refused the write; the log is as it was.
    """
    schema, log = table_schema(table), table_folder(folder, table) / LOG_FOLDER
    try:
        log.mkdir(parents=True, exist_ok=True)
        remove_abandoned(log.glob("*.tmp"))
        while True:
            # Another process took the number of this commit: the log is read again.
            with suppress(FileExistsError):
                return _commit_changes(folder, schema, log)
    except OSError as error:
        raise StorageError(
            f"Cannot write the Delta Lake log '{log}': {error}. Check the permissions and the free "
            "space of its folder, which has to allow hard links. Log and rows are as they were."
        ) from error


def _commit_changes(folder: Path, schema: TableSchema, log: Path) -> tuple[int, int] | None:
    # The log comes first: then the partitions are at least as new as what it names.
    commits, metadata, known = _read_log(log)
    partitions = {
        info.path.relative_to(log.parent).as_posix(): info.bytes
        for info in list_partitions(folder, schema.name)
    }
    added = sorted(path for path, size in partitions.items() if known.get(path) != size)
    removed = sorted(known.keys() - partitions.keys())
    now = time.time_ns() // 1_000_000
    actions: list[dict[str, Any]] = [] if commits else [{"protocol": _PROTOCOL}]
    wanted = {"id": str(uuid.uuid4()), "createdTime": now, **metadata, **_described(schema)}
    if wanted != metadata:
        actions.append({"metaData": wanted})
    for path in removed:
        actions.append({"remove": {"path": path, "deletionTimestamp": now, "dataChange": True}})
    for path in added:
        file = {"path": path, "partitionValues": {}, "size": partitions[path]}
        actions.append({"add": {**file, "modificationTime": now, "dataChange": True}})
    if not actions:
        return None
    actions.insert(0, {"commitInfo": {"timestamp": now, "operation": "toolformer export delta"}})
    write_new(log / f"{commits:020d}.json", "\n".join(map(json.dumps, actions)) + "\n")
    return len(added), len(removed)


def _read_log(log: Path) -> tuple[int, dict[str, Any], dict[str, int]]:
    """Returns the number of commits, what they say of the table, and the sizes of its files."""
    metadata, sizes = {}, {}
    commits = len(list(log.glob("*.json")))
    try:
        for number in range(commits):
            for action in map(json.loads, (log / f"{number:020d}.json").read_text().splitlines()):
                metadata = action.get("metaData", metadata)
                if "add" in action:
                    sizes[action["add"]["path"]] = action["add"]["size"]
                elif "remove" in action:
                    sizes.pop(action["remove"]["path"], None)
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DeltaLogError(
            f"The Delta Lake log '{log}' is not as toolformer wrote it: {error}. Remove that "
            "folder, which holds no rows; `toolformer export delta` begins it anew."
        ) from error
    return commits, metadata, sizes


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
        "configuration": {
            # Some programs vacuum without asking: partitions that no log names yet outlive that.
            "delta.deletedFileRetentionDuration": "interval 36500 days",
            # Whoever adds a checkpoint would remove the commits before it, which a refresh reads.
            "delta.enableExpiredLogCleanup": "false",
        },
    }


def _field(name: str, sql_type: str, **metadata: str) -> dict[str, Any]:
    delta_type: str | dict[str, Any] = _DELTA_TYPES.get(sql_type, sql_type)
    if inner := FIELD.findall(sql_type):
        struct = {"type": "struct", "fields": [_field(*field) for field in inner]}
        delta_type = {"type": "array", "elementType": struct, "containsNull": True}
    # A partition that is older than a column has no value in it, whatever `schema.sql` asks for.
    return {"name": name, "type": delta_type, "nullable": True, "metadata": metadata}
