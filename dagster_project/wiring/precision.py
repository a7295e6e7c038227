"""What `precision: auto` is. For a model that reads and writes: measured at the first use.

The measurement is a file in `precision/` in the home, one for each kind of model and of device;
remove it to measure anew. A model and what was finetuned from it share one, since they are
compared; so do the machines that share the home.
"""

import functools
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from dagster_project.home import Home
from dagster_project.settings.sections import Settings
from dagster_project.shared_files import bring, publish
from toolformer.forward.geometry import release_memory
from toolformer.forward.language_model import kind_of_model
from toolformer.forward.precision import (
    BFLOAT16,
    FLOAT32,
    PrecisionChoice,
    computable,
    name_of_device,
)
from toolformer.ground.whole_files import write_whole

AUTO = "auto"
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MeasuredPrecision:
    """A choice as it is written down.

    Attributes:
        model: its architecture and number of weights.
        device: `cpu`, or the name of the GPU.
        measured_on: the processor and its threads, or the GPU.
        choice: the precision, with both figures.
    """

    model: str
    device: str
    measured_on: str
    choice: PrecisionChoice

    @property
    def told(self) -> str:
        """What was chosen, and why, in a line."""
        return (
            f"{self.model} on {self.device} in {self.choice.told}; measured on {self.measured_on}"
        )


def settled_precision(
    directory: Path, device: str, home: Home, measure: Callable[[], PrecisionChoice]
) -> MeasuredPrecision:
    """What was measured before, or is now; of several processes one measures, and all agree.

    Call it while the resolved device is held.
    """
    model = kind_of_model(directory)
    kind = name_of_device(device) if device.startswith("cuda") else device
    name = re.sub(r"[^A-Za-z0-9-]+", "-", kind)
    file = home.precisions / f"{model}.{name}.json"
    with home.output_lock(f"precision.{file.stem}"):
        bring(home, file)
        record = _read(file)
        if record is None:
            record = MeasuredPrecision(model, kind, _told_machine(device), measure())
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, json.dumps(asdict(record), indent=2) + "\n")
            publish(home, file)
            # The slower copy is gone, and other processes may share the device.
            release_memory()
    log_once(record.told)
    return record


def recorded_precisions(home: Home) -> Iterator[MeasuredPrecision]:
    """All that was measured."""
    for file in sorted(home.precisions.glob("*.json")):
        if record := _read(file):
            yield record


def training_precision(settings: Settings, device: str) -> str:
    """The precision that training computes in; `auto` is bfloat16 on a GPU that computes in it."""
    if settings.training.precision != AUTO:
        return settings.training.precision
    return BFLOAT16 if device.startswith("cuda") and BFLOAT16 in computable(device) else FLOAT32


@functools.cache
def log_once(line: str) -> None:
    """Write a line into the log of a run, whose process is its own."""
    _LOGGER.info(line)


def _told_machine(device: str) -> str:
    """The processor and its threads, or the GPU."""
    if device.startswith("cuda"):
        return name_of_device(device)
    import torch

    return f"{name_of_device(device)}, {torch.get_num_threads()} of {os.cpu_count()} threads"


def _read(file: Path) -> MeasuredPrecision | None:
    """None too where the file is damaged: it is measured again."""
    try:
        content = json.loads(file.read_bytes())
        return MeasuredPrecision(**{**content, "choice": PrecisionChoice(**content["choice"])})
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None
