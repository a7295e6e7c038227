"""Errors of the sources; malformed records are data (`toolformer.sources.records.Rejection`)."""

from pathlib import Path

from toolformer.errors import ToolformerError


class SourceError(ToolformerError, ValueError):
    """A source cannot be used: unknown kind, unreadable, empty, or without the named column."""


class SourceNotFoundError(SourceError, LookupError):
    """No file, folder or built-in source has this name."""


class ExpansionError(SourceError):
    """A file grows beyond what its source allows when it is read."""


class DamageError(OSError):
    """Bytes in the middle of a file cannot be read; has no number, and reading may go on.

    Args:
        skipped: bytes that are passed over: stored ones, where they cannot be decompressed.
    """

    def __init__(self, message: str, skipped: int) -> None:
        super().__init__(message)
        self.skipped = skipped


class LongPageError(DamageError):
    """Pages of a dump are too long to be read; nothing else is wrong with them.

    Args:
        pages: how many.
    """

    def __init__(self, message: str, skipped: int, pages: int = 1) -> None:
        super().__init__(message, skipped)
        self.pages = pages


class ShardNotFoundError(SourceError, LookupError):
    """The manifest has no such active shard."""


class ManifestError(SourceError):
    """The manifest cannot be understood, is lost, or is older than the stored texts."""


class CorpusWriteError(ToolformerError, OSError):
    """The manifest or a staged text could not be written, for instance on a full disk."""


def write_error(path: Path, error: OSError) -> CorpusWriteError:
    """The error for a file of the corpus that cannot be written."""
    return CorpusWriteError(
        f"Cannot write {str(path)!r}: {error.strerror or error}. Expected a writable folder with "
        "room for a compressed copy of the texts. Make room or set TOOLFORMER_HOME to another "
        "disk, then ingest again; what was registered before is intact."
    )
