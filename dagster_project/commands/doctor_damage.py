"""Looks for damaged files in a home."""

from collections.abc import Iterator

from dagster_project.commands.findings import Finding, guarded, named
from toolformer.home.home import Home

# Every row of a partition is read to find damage; more than this would take more than a second.
_MAX_BYTES_READ = 128 * 2**20


def examine_files(home: Home, *, is_full: bool) -> Iterator[Finding]:
    """Look for damaged partitions and judgements.

    Args:
        is_full: read all partitions; else those of the smallest tables, up to 128 MiB.
    """
    yield from guarded("judgements", lambda: _judgements(home))
    yield from guarded("partitions", lambda: _partitions(home, is_full))


def _judgements(home: Home) -> Iterator[Finding]:
    from warehouse.labels import REMEDY, labels_file, read_labels

    _, detail = read_labels(home.warehouse)
    if detail:
        files = (str(labels_file(home.warehouse)),)
        yield Finding("judgements", "warning", detail, REMEDY, files)


def _partitions(home: Home, is_full: bool) -> Iterator[Finding]:
    from warehouse.schema import tables
    from warehouse.warehouse import Warehouse

    warehouse = Warehouse(home.warehouse, home.database).skipping_damage()
    sizes = dict.fromkeys(tables(), 0)
    for info in warehouse.partitions():
        sizes[info.table] += info.bytes
    read, examined = 0, []
    for table in sorted(sizes, key=sizes.__getitem__):
        read += sizes[table]
        if read > _MAX_BYTES_READ and not is_full:
            break
        examined.append(table)
    if damaged := sorted(warehouse.damage(examined)):
        names = named([str(path.relative_to(home.warehouse.absolute())) for path in damaged])
        detail = f"{len(damaged)} damaged or missing: {names}"
        remedy = f"Remove these files in {home.warehouse}; the next build makes them again"
        yield Finding("partitions", "warning", detail, remedy, tuple(map(str, damaged)))
