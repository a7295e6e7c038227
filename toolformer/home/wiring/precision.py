"""What `precision: auto` means.

There is one file per kind of work, model and device. A model and those finetuned from it share one,
since they are compared; so do the machines that share the home.
"""

import datetime
import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from toolformer.forward.memory import release_memory
from toolformer.forward.model_directory import kind_of_model
from toolformer.forward.precision import PrecisionChoice, name_of_device
from toolformer.home.home import Home
from toolformer.home.settings.sections import Settings
from toolformer.home.wiring.settled import AUTO, settled, tell_once

ANNOTATION, TRAINING = "annotation", "training"


@dataclass(frozen=True, slots=True)
class MeasuredPrecision:
    """A choice as it is written down.

    Attributes:
        purpose: `annotation`, which stands for decoding and evaluation too; or `training`, of
            adapters `training-lora`.
        model: its architecture and number of weights.
        device: `cpu`, or the name of the GPU.
        measured_on: the processor and its threads, or the GPU.
        measured_at: when.
        choice: the precision, with both figures.
    """

    purpose: str
    model: str
    device: str
    measured_on: str
    measured_at: str
    choice: PrecisionChoice

    @property
    def summary(self) -> str:
        """What was chosen, and why, in a line."""
        return (
            f"{self.purpose} of {self.model} on {self.device} in {self.choice.summary}; measured "
            f"on {self.measured_on}, {self.measured_at}"
        )


def settled_precision(
    purpose: str,
    directory: Path,
    device: str,
    home: Home,
    measure: Callable[[], PrecisionChoice],
) -> MeasuredPrecision:
    """What was measured before, or is now; of several processes one measures, and all agree.

    Call it while the resolved device is held.
    """
    model = kind_of_model(directory)

    def measured() -> MeasuredPrecision:
        record = MeasuredPrecision(
            purpose=purpose,
            model=model,
            device=_kind(device),
            measured_on=_machine_description(device),
            measured_at=datetime.datetime.now(datetime.UTC).date().isoformat(),
            choice=measure(),
        )
        # The slower copy is gone, and other processes may share the device.
        release_memory()
        return record

    file = _file(purpose, model, device, home)
    record = settled(file, MeasuredPrecision, home, measured)
    tell_once(record.summary)
    return record


def training_precision(settings: Settings, base: Path, device: str, home: Home) -> str:
    """The precision that training computes in: named, measured before, or measured now.

    Args:
        settings: settings of the run.
        base: directory of the model to begin with.
        device: that is held.
        home: has the records.
    """
    named = settings.training.precision
    if named != AUTO:
        tell_once(f"training in {named}: training.precision says so")
        return named
    from toolformer.training.training_precision import training_choice

    measure = functools.partial(
        training_choice,
        base,
        device=device,
        bos_token=settings.language_model.bos_token,
        lora_rank=settings.training.lora_rank,
    )
    # With adapters the weights are held in it.
    purpose = TRAINING if settings.training.lora_rank is None else f"{TRAINING}-lora"
    return settled_precision(purpose, base, device, home, measure).choice.precision


def _machine_description(device: str) -> str:
    """The processor and its threads, or the GPU."""
    if device.startswith("cuda"):
        return name_of_device(device)
    import torch

    return f"{name_of_device(device)}, {torch.get_num_threads()} of {os.cpu_count()} threads"


def _kind(device: str) -> str:
    """The cores of one kind of device are as fast as each other."""
    return name_of_device(device) if device.startswith("cuda") else device


def _file(purpose: str, model: str, device: str, home: Home) -> Path:
    kind = re.sub(r"[^A-Za-z0-9-]+", "-", _kind(device))
    return home.precisions / f"{purpose}.{model}.{kind}.json"
