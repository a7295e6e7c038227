"""Errors of the sources. A record that cannot be used is data: see `records.Rejection`."""

from pathlib import Path

from toolformer.errors import ToolformerError


class SourceError(ToolformerError, ValueError):
    """A source cannot be used: unknown format, unreadable, empty, or without the named column."""


class SourceNotFoundError(SourceError, LookupError):
    """No file, folder or built-in source has this name."""


class ShardNotFoundError(SourceError, LookupError):
    """The manifest has no such active shard."""


class ManifestError(SourceError):
    """The manifest is invalid, missing, or older than the stored texts."""


class CorpusWriteError(ToolformerError, OSError):
    """The manifest or a staged text could not be written, for instance on a full disk."""


def repeated_column_error(file: str, column: str, count: int) -> SourceError:
    """Return the error for a file in which several columns have the name of a wanted one."""
    return SourceError(
        f"The file {file!r} has {count} columns {column!r}. Expected one. Rename the others in the "
        "file, or set another column."
    )


def write_error(path: Path, error: OSError) -> CorpusWriteError:
    """Return the error for a file of the corpus that cannot be written."""
    return CorpusWriteError(
        f"Cannot write {str(path)!r}: {error.strerror or error}. Expected a writable folder with "
        "room for a compressed copy of the texts. Make room or set TOOLFORMER_HOME to another "
        "disk, then ingest again; what was registered before is intact."
    )
