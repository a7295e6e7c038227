"""How many GPUs a run asks Ray for: as its tags say, or else its settings."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from assets.stages import STAGES
from assets.training.finetuned_model import FINETUNED_MODEL
from dagster_project.run_tags import RAY_TAG
from toolformer.home.settings.sections import Settings

_GPUS = "num_gpus"
# Those that any GPU will do for. Who names another one, by its number, chooses the place himself.
_ANY_GPU = ("cuda", "cuda:0")
_WITHOUT_DEVICE = frozenset(stage.name for stage in STAGES if stage.needs_device is None)


def gpus_of(settings: Settings, *, job: str, assets: Collection[str]) -> int:
    """GPUs that a run needs, so that Ray finds it a place and no other run is put there.

    With `language_model.device: auto` none are asked for: a run takes the first GPU of its node
    that no other run holds, as on one machine. A run without named assets makes all of its job.
    """
    if settings.language_model.device not in _ANY_GPU:
        return 0
    if FINETUNED_MODEL.name in assets or (job == "train" and not assets):
        return settings.training.processes
    return 0 if assets and _WITHOUT_DEVICE.issuperset(assets) else 1


def with_gpus(tags: Mapping[str, str], gpus: int) -> dict[str, str]:
    """The tags of a run, with the GPUs that it needs unless they say a number themselves.

    Example:
        >>> with_gpus({}, 2)
        {'dagster-ray/config': '{"num_gpus": 2}'}
        >>> with_gpus({"dagster-ray/config": '{"num_gpus": 1, "num_cpus": 4}'}, 2)
        {'dagster-ray/config': '{"num_gpus": 1, "num_cpus": 4}'}
    """
    config: dict[str, Any] = json.loads(tags.get(RAY_TAG, "{}"))
    if not gpus or _GPUS in config:
        return dict(tags)
    return {**tags, RAY_TAG: json.dumps({**config, _GPUS: gpus})}
