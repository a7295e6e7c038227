"""The errors of the warehouse package.

Every message says what is wrong with which value, what was expected and what to do.
"""


class WarehouseError(Exception):
    """Root of every error that the warehouse raises on purpose."""


class UnknownTableError(WarehouseError, LookupError):
    """A table name that `schema.sql` does not define."""


class PartitionValidationError(WarehouseError, ValueError):
    """Rows that break a constraint of their table, or a name that cannot be part of a path."""


class PartitionNotFoundError(WarehouseError, LookupError):
    """A partition that was asked for and does not exist."""


class DamagedPartitionError(WarehouseError, ValueError):
    """A partition file that cannot be read; the message names it and the remedy."""


class StorageError(WarehouseError, OSError):
    """The file system refused a write: disk full, no permission, read-only."""


class QueryError(WarehouseError, ValueError):
    """A query that DuckDB or the read-only rule refused."""


class PartitionsChangingError(WarehouseError, RuntimeError):
    """A query met replaced partitions at every attempt."""


class LayoutError(WarehouseError, ValueError):
    """A warehouse that was written with another layout."""


class ComparisonError(WarehouseError, ValueError):
    """Two homes of which there is nothing to compare."""


class SheetError(WarehouseError, ValueError):
    """A sheet of judgements that cannot be read or written."""
