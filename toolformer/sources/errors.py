"""Errors of the sources.

Does not cover malformed records: those are data (`toolformer.sources.records.Rejection`).
"""

from toolformer.errors import ToolformerError


class SourceError(ToolformerError, ValueError):
    """A source cannot be used: unknown kind, unreadable, empty, or without the named column."""


class SourceNotFoundError(SourceError, LookupError):
    """No file, folder or built-in source has this name."""


class ExpansionError(SourceError):
    """A file grows beyond what its source allows when it is read."""


class PagelessError(SourceError):
    """XML without a page."""


class ShardNotFoundError(SourceError, LookupError):
    """The manifest has no such shard, or its raw slice is gone."""


class DamagedRawSliceError(SourceError):
    """A raw slice is truncated or altered, or the manifest cannot be read."""


class SliceWriteError(ToolformerError, OSError):
    """A raw slice or the manifest could not be written, for instance on a full disk."""
