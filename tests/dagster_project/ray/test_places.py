"""How many GPUs a run asks for."""

import pytest

from dagster_project.ray.places import gpus_of
from dagster_project.settings.sections import Settings, validated

STAGES = [
    "candidate_calls",
    "executed_calls",
    "scored_calls",
    "filtered_calls",
    "augmented_texts",
]


def settings_with(device: str, processes: int = 1) -> Settings:
    values = {"language_model": {"device": device}, "training": {"processes": processes}}
    return validated(values, origin="test")


@pytest.mark.parametrize(
    ("job", "assets", "expected"),
    [
        ("build_dataset", (), 1),
        ("build_dataset", STAGES, 1),
        ("build_dataset", ["scored_calls", "filtered_calls", "augmented_texts"], 1),
        ("build_dataset", ["filtered_calls", "augmented_texts"], 0),
        ("build_dataset", ["filtered_calls"], 0),
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
    assert gpus_of(settings_with("cuda", 4), job=job, assets=assets) == expected


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda:3"])
def test_who_chooses_the_device_otherwise_gets_no_place_by_gpu(device: str):
    assert gpus_of(settings_with(device, 4), job="train", assets=()) == 0
