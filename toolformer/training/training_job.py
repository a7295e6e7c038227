"""What a finetuning run needs to begin, and how it reaches the processes that train.

    job.json              paths, parameters, device
    rows.safetensors      token ids, kinds and lengths, one row behind the other

Nothing is pickled. Does not train.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from toolformer.training.finetuning_parameters import FinetuningParameters
from toolformer.training.training_loss import LossWeights
from toolformer.training.training_rows import TrainingRow

if TYPE_CHECKING:
    import numpy

Row = TypeVar("Row")

_SETTINGS_FILE = "job.json"
_ROWS_FILE = "rows.safetensors"
_PATHS = ("base", "state_folder")


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

    def write(self, folder: Path) -> None:
        """Write the job into a folder that is there.

        Raises:
            OSError: the disk is full or cannot be written.
            SafetensorError: likewise.
        """
        import numpy
        from safetensors.numpy import save_file

        ids = [row.ids for row in self.rows]
        arrays = {
            "ids": _joined(ids),
            "lengths": numpy.array([len(row) for row in ids]),
            "kinds": numpy.frombuffer(b"".join(row.kinds for row in self.rows), numpy.uint8),
            "development_ids": _joined(self.development),
            "development_lengths": numpy.array([len(row) for row in self.development]),
        }
        save_file(arrays, folder / _ROWS_FILE)
        settings = {
            "base": str(self.base.absolute()),
            "parameters": asdict(self.parameters),
            "bos_token": self.bos_token,
            "device": self.device,
            "state_folder": str(self.state_folder.absolute()),
            "fingerprint": self.fingerprint,
        }
        (folder / _SETTINGS_FILE).write_text(json.dumps(settings))

    @classmethod
    def read(cls, folder: Path) -> "TrainingJob":
        """The job that was written into a folder; rows are made when they are asked for."""
        from safetensors.numpy import load_file

        settings: dict[str, Any] = json.loads((folder / _SETTINGS_FILE).read_text())
        parameters = settings.pop("parameters")
        weights = LossWeights(**parameters.pop("loss_weights"))
        arrays = load_file(folder / _ROWS_FILE)
        ids, kinds = arrays["ids"], arrays["kinds"]
        development_ids = arrays["development_ids"]
        return cls(
            **{name: Path(settings.pop(name)) for name in _PATHS},
            **settings,
            rows=_StoredRows(
                arrays["lengths"],
                lambda start, end: TrainingRow(
                    tuple(ids[start:end].tolist()), kinds[start:end].tobytes()
                ),
            ),
            development=_StoredRows(
                arrays["development_lengths"],
                lambda start, end: development_ids[start:end].tolist(),
            ),
            parameters=FinetuningParameters(**parameters, loss_weights=weights),
        )


class _StoredRows(Sequence[Row]):
    """Rows in arrays: as Python numbers they would take ten times the memory, in each process."""

    def __init__(self, lengths: "numpy.ndarray", row: Callable[[int, int], Row]):
        self._places = list(pairwise(accumulate(lengths.tolist(), initial=0)))
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


def _joined(rows: Sequence[Sequence[int]]) -> "numpy.ndarray":
    import numpy

    return numpy.fromiter((token for row in rows for token in row), numpy.int32)
