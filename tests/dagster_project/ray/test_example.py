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


def test_the_example_names_our_launcher_and_its_settings(reference: InstanceRef):
    launcher = reference.run_launcher
    assert isinstance(launcher, WatchedRayRunLauncher)
    assert (launcher.address, launcher.num_cpus) == ("http://10.0.0.1:8265", 4)
    assert launcher.env_vars is not None
    assert "TOOLFORMER_HOME" not in launcher.env_vars


def test_the_example_queues_runs_and_has_them_wait_for_a_head(reference: InstanceRef):
    coordinator = reference.run_coordinator
    assert isinstance(coordinator, QueuedRunCoordinator)
    queue = coordinator.get_run_queue_config()
    assert queue.max_user_code_failure_retries == 60
    assert queue.user_code_failure_retry_delay == 60


def test_the_example_keeps_records_in_postgresql(reference: InstanceRef):
    storage = reference.storage_data
    assert storage.class_name == "DagsterPostgresStorage"
    assert "postgresql+psycopg2" in str(storage.config_yaml)


def test_runs_that_wait_in_ray_are_not_failed_by_a_start_timeout(reference: InstanceRef):
    monitoring = reference.settings["run_monitoring"]
    assert monitoring["start_timeout_seconds"] >= 3600
    assert reference.settings["run_retries"]["retry_on_asset_or_op_failure"] is False
