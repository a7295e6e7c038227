"""Errors of the sources. An unusable record raises no error; it becomes a `records.Rejection`."""

from pathlib import Path

from toolformer.errors import ToolformerError


class SourceError(ToolformerError, ValueError):
    """A source cannot be used: unknown format, unreadable, empty, or without the named column."""


class SourceNotFoundError(SourceError, LookupError):
    pass


class ShardNotFoundError(SourceError, LookupError):
    """The manifest has no active shard with this key."""


class ManifestError(SourceError):
    """The manifest is invalid, missing, or older than the stored texts."""


class CorpusWriteError(ToolformerError, OSError):
    """The manifest or a staged text could not be written, for example because the disk is full."""


def repeated_column_error(file: str, column: str, count: int) -> SourceError:
    return SourceError(
        f"The file {file!r} has {count} columns named {column!r}. Expected one. Rename the extra "
        "columns in the file, or set another column."
    )


def write_error(path: Path, error: OSError) -> CorpusWriteError:
    return CorpusWriteError(
        f"Cannot write {str(path)!r}: {error.strerror or error}. Expected a writable folder with "
        "space for a compressed copy of the texts. Free some space, or set TOOLFORMER_HOME to "
        "another disk, then ingest again. Shards that were already registered are intact."
    )
