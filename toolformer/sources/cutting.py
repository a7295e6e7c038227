"""Cuts the records of a source into raw slices that belong to no shard yet.

Does not know the manifest.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from toolformer.sources.errors import SourceError
from toolformer.sources.files import SourceFile
from toolformer.sources.readers import read_raw_records
from toolformer.sources.records import RawRecord
from toolformer.sources.slices import write_slice
from toolformer.sources.source import Source

_PREFIX = "cut-"

# Called with the name of a source and the number of raw records cut from it so far.
Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class CutSlice:
    """A raw slice without a key.

    Attributes:
        path: where it lies.
        first_record: number of its first raw record within the source, from 0.
        records: how many raw records it holds.
        digest: of its content.
    """

    path: Path
    first_record: int
    records: int
    digest: str


def cut_source(
    folder: Path, source: Source, files: list[SourceFile], progress: Progress
) -> Iterator[CutSlice]:
    """Cuts a source, writing each slice as its records are read.

    Args:
        folder: of the slices.
        source: what to cut.
        files: its files.
        progress: told about each slice.

    Raises:
        SourceError: the source cannot be read; nothing of it is left in the folder.
        SliceWriteError: the disk is full or the folder not writable.
    """
    layout = source.layout(files[0].format)
    records = read_raw_records(source, files)
    first_record = 0
    try:
        # A shard is written as it is read: peek for its first record, count the rest.
        while (record := next(records, None)) is not None:
            path = folder / f"{_PREFIX}{first_record}"
            counter = _Counter(chain([record], islice(records, source.shard_size - 1)))
            digest = write_slice(path, layout, counter)
            yield CutSlice(path, first_record, counter.count, digest)
            first_record += counter.count
            progress(source.name, first_record)
    except SourceError:
        remove_cut_slices(folder)
        raise


def remove_cut_slices(folder: Path) -> None:
    """Removes slices that never got a key."""
    for path in folder.glob(f"{_PREFIX}*"):
        path.unlink()


class _Counter:
    """An iterator that knows how many records it has given."""

    def __init__(self, records: Iterator[RawRecord]) -> None:
        self.count = 0
        self._records = records

    def __iter__(self) -> Iterator[RawRecord]:
        for record in self._records:
            self.count += 1
            yield record
