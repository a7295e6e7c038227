"""Two processes that ask for the same output at the same moment: one makes it, the other finds it.

Each process stands for a run; with two devices neither waits for the device of the other.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import save_tiny_model
from tests.processes import imported_once
from tests.toolformer.training.tiny import record
from tests.warehouse.rows import CALL, CALL_TABLES, new_warehouse, put, put_calls, save_manifest
from toolformer.base.model_files import RECORD_FILE
from toolformer.home.home import Home
from toolformer.sources.manifest import Manifest

pytestmark = pytest.mark.slow

SHARDS = tuple(f"shard-0000{number}" for number in range(3))
TOOL = "Calculator"
TEXT = "Six crates of 24 make 144 bottles, sold before noon; 12 were broken, so 132 were paid."
SETTINGS: dict[str, Any] = {
    "corpus": {"window_tokens": 64},
    "training": {
        "steps": 2,
        "min_texts": 1,
        "batch_size": 2,
        "max_tokens": 128,
        "evaluations": 3,
        "precision": "float32",
        "learning_rate": 1e-4,
    },
    "evaluation": {"benchmarks": ["dateset"], "dateset_items": 2},
}
Steps = list[tuple[str, tuple[str | None, str | None]]]
# Assets and the shards of the two processes. From the last stage to the first, so that each works
# on rows that were there before.
STEPS: Steps = [
    ("evaluation_results", ("dateset|finetuned", "dateset|finetuned")),
    ("finetuned_model", ("calls", "calls")),
    ("training_set", (None, None)),
    ("augmented_texts", (SHARDS[0], SHARDS[0])),
    ("filtered_calls", (SHARDS[0], SHARDS[0])),
    ("scored_calls", (SHARDS[1], SHARDS[2])),
    ("scored_calls", (SHARDS[0], SHARDS[0])),
    ("executed_calls", (SHARDS[0], SHARDS[0])),
]
# For which the device is taken before the lock of the output.
ON_DEVICE = [STEPS[0], STEPS[1], ("scored_calls", (SHARDS[0], SHARDS[0]))]


def materialise(
    number: int, own: int, root: str, model: str, start: Any, said: Any, steps: Steps
) -> None:
    """What a process does; it waits before each step, so that both ask together."""
    os.environ["TOOLFORMER_HOME"] = root
    import dagster as dg

    from dagster_project.definitions import definitions
    from toolformer.home.partitions import register_evaluations, register_shards
    from toolformer.home.resources.settings import SettingsResource
    from toolformer.home.resources.toolbox import ToolboxResource
    from toolformer.settings.evaluation_sections import EvaluationSettings

    # Each device has a lock of its own; both are the processor here.
    Home.device_lock = lambda self, device: self.output_lock(f"device-{own}")
    of_model = {"path": model, "device": "cpu", "precision": "bfloat16"}
    resources = {
        **(definitions().resources or {}),
        "settings": SettingsResource(overrides={**SETTINGS, "language_model": of_model}),
        "toolbox": ToolboxResource(tools=[TOOL]),
    }
    with dg.DagsterInstance.ephemeral() as instance:
        register_shards(instance, Manifest.load(Home(Path(root)).sources))
        register_evaluations(instance, EvaluationSettings())
        for step, (asset, shards) in enumerate(steps):
            start.wait(timeout=100)
            result = dg.materialize(
                [definitions().get_assets_def(asset)],
                partition_key=shards[number],
                instance=instance,
                resources=resources,
                raise_on_error=False,
            )
            said.put((step, _states(result) if result.success else {"failed"}))


def _states(result: Any) -> set[str]:
    """How the outputs of an asset were made, whatever they are called."""
    (event,) = result.get_asset_materialization_events()
    metadata = {name: str(each.value) for name, each in event.materialization.metadata.items()}
    if "partitions" not in metadata:
        return {state for name, state in metadata.items() if name.startswith("state")}
    rows = metadata["partitions"].splitlines()[2:]
    return {row.split("|")[2].strip() for row in rows} - {"merged"}


def _counted(of_processes: list[set[str]]) -> Counter[str]:
    """How many partitions were made how, by all processes together: "1 done, 1 up to date"."""
    counts: Counter[str] = Counter()
    for (told,) in of_processes:
        for each in told.split(", "):
            number, state = each.split(" ", maxsplit=1)
            counts[state] += int(number)
    return counts


@pytest.fixture(scope="module")
def model_directory(tmp_path_factory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", context_length=1024)


@pytest.fixture
def home(tmp_path, model_directory: Path) -> Home:
    """Shards with the rows of every stage, a training set, and a model to evaluate."""
    home, warehouse = Home(tmp_path), new_warehouse(tmp_path)
    merged_call = CALL | {"position": 3, "character_offset": 3}
    for number, shard in enumerate(SHARDS):
        call = {"call_id": f"c{number}", "document_id": f"d{number}", "character_offset": 3}
        text = {"document_id": f"d{number}", "text": TEXT}
        merged = text | {"calls": [merged_call]}
        for table in CALL_TABLES:
            fingerprint = f"{table} {shard}"
            put_calls(warehouse, call, tables=[table], shard=shard, fingerprint=fingerprint)
        put(warehouse, "documents", text, shard=shard, fingerprint=f"documents {shard}")
        put(warehouse, "augmented_texts", merged, shard=shard, fingerprint=f"merged {shard}")
    training = [
        {"document_id": f"t{number}", "split": split, "calls": [merged_call]}
        for number, split in enumerate(("train", "train", "development"))
    ]
    put(warehouse, "training_texts", *training, fingerprint="x")
    save_manifest(home.sources, *SHARDS)
    shutil.copytree(model_directory, home.finetuned_model(1))
    (home.finetuned_model(1) / RECORD_FILE).write_text(json.dumps(record()))
    return home


@pytest.fixture(scope="module")
def context() -> Iterator[Any]:
    with imported_once(__name__, "dagster_project.definitions", "transformers") as context:
        yield context


@pytest.mark.parametrize(("devices", "steps"), [(1, ON_DEVICE), (2, STEPS)])
def test_two_processes_make_every_output_once(
    home: Home, model_directory: Path, context: Any, devices: int, steps: Steps
):
    start, said = context.Barrier(2), context.Queue()
    processes = [
        context.Process(
            target=materialise,
            args=(
                *(number, number % devices, str(home.root), str(model_directory)),
                *(start, said, steps),
            ),
        )
        for number in range(2)
    ]
    for process in processes:
        process.start()
    states: list[list[set[str]]] = [[] for _ in steps]
    for _ in range(2 * len(steps)):
        step, of_step = said.get(timeout=100)
        states[step].append(of_step)
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    # Two partitions, one for each mode; which process makes which is a matter of moments.
    assert sorted(_counted(states.pop(0)).items()) == [("done", 2), ("up to date", 2)]
    for (asset, shards), of_step in zip(steps[1:], states, strict=True):
        is_same_output = len(set(shards)) == 1
        expected = [{"done"}, {"up to date"}] if is_same_output else [{"done"}, {"done"}]
        assert (asset, sorted(of_step, key=str)) == (asset, expected)
