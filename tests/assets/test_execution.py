"""The stage that makes calls: its tools work at the same time."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from assets.tool_threads import done_together
from tests.conftest import REPOSITORY
from tests.fakes import save_tiny_model
from tools.errors import ToolDiedError

# In a process of its own: here others have imported transformers already.
FIRST_IS_EXECUTION = """
import sys
from unittest import mock
import dagster as dg
from assets import shard_run
from dagster_project.definitions import definitions
from dagster_project.home import Home
from dagster_project.partitions import SHARDS
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.toolbox import ToolboxResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.wiring import toolbox
from tests.warehouse.rows import SHARD, frame, save_manifest
from warehouse.schema import ALL

done_together = shard_run.done_together

def before_the_threads(work):
    assert "transformers.models.auto.tokenization_auto" in sys.modules, "threads would import it"
    return done_together(work)

warehouse = WarehouseResource().open()
save_manifest(Home.find().sources)
for table, name in (("documents", ALL), ("candidate_calls", "Calculator")):
    warehouse.replace_partition(table, SHARD, name, frame(table), metadata={"fingerprint": table})
assert "transformers" not in sys.modules
with (
    mock.patch.object(shard_run, "done_together", before_the_threads),
    mock.patch.object(toolbox, "_on_device", lambda settings: frozenset({"Calculator"})),
):
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(SHARDS.name), [SHARD])
        resources = {
            "settings": SettingsResource(overrides={"language_model": {"path": sys.argv[1]}}),
            "warehouse": WarehouseResource(),
            "toolbox": ToolboxResource(tools=["Calculator"]),
            "language_model": LanguageModelResource(),
        }
        dg.materialize(
            [definitions().get_assets_def("executed_calls")],
            partition_key=SHARD,
            instance=instance,
            resources=resources,
        )
"""


def test_tools_work_at_the_same_time_and_an_error_of_one_stops_no_other():
    meeting, done = threading.Barrier(3, timeout=10), []

    def meet(name: str, error: Exception | None = None) -> str:
        meeting.wait()
        if error is not None:
            raise error
        done.append(name)
        return f"{name} done"

    def work(error: Exception | None) -> dict[str, Callable[[], str]]:
        return {
            "a": partial(meet, "a", error),
            **{name: partial(meet, name) for name in ("b", "c")},
        }

    assert done_together(work(None)) == {"a": "a done", "b": "b done", "c": "c done"}
    done.clear()
    with pytest.raises(ValueError, match="no answer"):
        done_together(work(ValueError("no answer")))
    assert sorted(done) == ["b", "c"]
    with pytest.raises(ToolDiedError, match="a: its process ended"):
        done_together(work(ToolDiedError("its process ended")))


@pytest.mark.slow
def test_a_first_stage_that_is_execution_imports_before_its_threads_start(tmp_path: Path):
    save_tiny_model(tmp_path / "model")
    done = subprocess.run(
        [sys.executable, "-c", FIRST_IS_EXECUTION, str(tmp_path / "model")],
        env={**os.environ, "TOOLFORMER_HOME": str(tmp_path / "home")},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
