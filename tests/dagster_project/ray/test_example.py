"""`deploy/ray/dagster.yaml`: what Dagster says to it."""

import shutil
from pathlib import Path

import pytest
from dagster._core.instance.ref import InstanceRef
from dagster._core.run_coordinator import QueuedRunCoordinator

pytest.importorskip("dagster_ray", reason="needs the extra `ray`")
pytest.importorskip("dagster_postgres", reason="needs the extra `ray`")

from dagster_project.ray.launcher import WatchedRayRunLauncher

EXAMPLE = Path(__file__).resolve().parents[3] / "deploy" / "ray" / "dagster.yaml"


@pytest.fixture
def reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstanceRef:
    """As an instance is opened, up to its first connection: all names and types are checked."""
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "secret")
    shutil.copy(EXAMPLE, tmp_path / "dagster.yaml")
    return InstanceRef.from_dir(str(tmp_path))


def test_the_example_has_our_launcher_waits_for_a_head_and_fails_no_run_that_waits(
    reference: InstanceRef,
):
    launcher = reference.run_launcher
    assert isinstance(launcher, WatchedRayRunLauncher)
    assert (launcher.address, launcher.num_cpus) == ("http://10.0.0.1:8265", 4)
    assert "TOOLFORMER_HOME" not in (launcher.env_vars or ())
    coordinator = reference.run_coordinator
    assert isinstance(coordinator, QueuedRunCoordinator)
    queue = coordinator.get_run_queue_config()
    assert queue.max_user_code_failure_retries == queue.user_code_failure_retry_delay == 60
    assert reference.storage_data.class_name == "DagsterPostgresStorage"
    assert reference.settings["run_monitoring"]["start_timeout_seconds"] >= 3600
    assert reference.settings["run_retries"]["retry_on_asset_or_op_failure"] is False
