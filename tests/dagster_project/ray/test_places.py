"""How many GPUs a run asks for."""

from collections.abc import Sequence

import pytest

from dagster_project.ray.places import gpus_of
from dagster_project.settings.sections import validated


def gpus(device: str, job: str, assets: Sequence[str]) -> int:
    values = {"language_model": {"device": device}, "training": {"processes": 4}}
    return gpus_of(validated(values, origin="test"), job=job, assets=assets)


@pytest.mark.parametrize(
    ("job", "assets", "expected"),
    [
        ("build_dataset", (), 1),
        ("build_dataset", ["scored_calls", "filtered_calls", "augmented_texts"], 1),
        ("build_dataset", ["filtered_calls", "augmented_texts"], 0),
        ("train", (), 4),
        ("train", ["training_set"], 0),
        ("train", ["finetuned_model", "min_call_probability", "call_statistics"], 4),
        ("train", ["min_call_probability"], 1),
        ("evaluate", ["evaluation_results"], 1),
        ("evaluate", ["evaluation_report"], 0),
        # As the runs of a backfill are called.
        ("__ASSET_JOB", ["finetuned_model"], 4),
    ],
)
def test_a_run_on_gpus_asks_for_one_and_training_for_one_per_process(
    job: str, assets: list[str], expected: int
):
    assert gpus("cuda", job, assets) == expected


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda:3"])
def test_who_chooses_the_device_otherwise_gets_no_place_by_gpu(device: str):
    assert gpus(device, "train", []) == 0
