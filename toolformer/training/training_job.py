"""What a finetuning run needs to begin, also to begin in several processes. Does not train."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, overload

from toolformer.training.finetuning_parameters import FinetuningParameters
from toolformer.training.training_rows import TrainingRow

if TYPE_CHECKING:
    import numpy

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """A finetuning run that has not begun.

    Attributes:
        base: directory of the model to begin with.
        rows: what to train on, none of them empty.
        development: ids of plain texts without calls, none of them empty.
        parameters: how to train.
        bos_token: text of the token in front of every row; None: the one used in scoring.
        device: `cpu` or a CUDA device; several processes take one CUDA device each.
        state_folder: where the state of the run lies.
        fingerprint: of everything that the numbers of the run follow from.
    """

    base: Path
    rows: Sequence[TrainingRow]
    development: Sequence[Sequence[int]]
    parameters: FinetuningParameters
    bos_token: str | None
    device: str
    state_folder: Path
    fingerprint: str

    def with_rows_in_arrays(self) -> "TrainingJob":
        """The same job; its rows are made when they are asked for."""
        import numpy

        ids, places = _joined([row.ids for row in self.rows])
        kinds = numpy.frombuffer(b"".join(row.kinds for row in self.rows), numpy.uint8)
        development_ids, development_places = _joined(self.development)
        return replace(
            self,
            rows=_StoredRows(places, partial(_training_row, ids, kinds)),
            development=_StoredRows(development_places, partial(_token_ids, development_ids)),
        )


class _StoredRows(Sequence[Row]):
    """Rows in arrays: as Python numbers they would take ten times the memory, in each process."""

    def __init__(self, places: Sequence[tuple[int, int]], row: Callable[[int, int], Row]):
        self._places = places
        self._row = row

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self._row(*place) for place in self._places[index]]
        return self._row(*self._places[index])


def _joined(rows: Sequence[Sequence[int]]) -> "tuple[numpy.ndarray, list[tuple[int, int]]]":
    """Token ids of all rows, and start and end of each row in them."""
    import numpy

    ids = numpy.fromiter((token for row in rows for token in row), numpy.int32)
    return ids, list(pairwise(accumulate(map(len, rows), initial=0)))


def _token_ids(ids: "numpy.ndarray", start: int, end: int) -> list[int]:
    return ids[start:end].tolist()


def _training_row(
    ids: "numpy.ndarray", kinds: "numpy.ndarray", start: int, end: int
) -> TrainingRow:
    return TrainingRow(tuple(_token_ids(ids, start, end)), kinds[start:end].tobytes())
