"""Errors that the warehouse raises on purpose; all derive from `WarehouseError`."""


class WarehouseError(Exception):
    pass


class UnknownTableError(WarehouseError, LookupError):
    pass


class PartitionValidationError(WarehouseError, ValueError):
    """Rows that break a constraint of their table, or a name that cannot be part of a path."""


class PartitionNotFoundError(WarehouseError, LookupError):
    pass


class DamagedPartitionError(WarehouseError, ValueError):
    """A partition file or a catalogue that is damaged, missing or unreadable."""


class StorageError(WarehouseError, OSError):
    pass


class QueryError(WarehouseError, ValueError):
    pass


class PartitionsChangingError(WarehouseError, RuntimeError):
    """Partitions were replaced while a query read them."""


class LayoutError(WarehouseError, ValueError):
    """A warehouse that was written with other columns or file names."""


class ComparisonError(WarehouseError, ValueError):
    pass


class SheetError(WarehouseError, ValueError):
    pass
