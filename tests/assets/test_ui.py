"""The real webserver and daemon, and a backfill launched the way the browser does."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from dagster_project.definitions import definitions
from tests.assets.conftest import SHARDS, MakeHome, PipelineHome
from tests.browser import Browser, with_impatient_daemon
from tests.conftest import REPOSITORY
from tests.homes import environment_of
from tests.processes import ServiceError, await_until

pytestmark = [pytest.mark.java, pytest.mark.slow]

# As the UI sends it from its dialog for launching a backfill of assets.
NODES = """
query Nodes {
  assetNodes {
    assetKey { path }
    groupName
    partitionKeys
    repository { location { name } }
  }
}
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def home(prepared_home: PipelineHome, copy_of: MakeHome) -> PipelineHome:
    made = copy_of(prepared_home)
    made.change_settings({"tools": {"WikiSearch": {"is_enabled": False}}})
    # Registers the partitions of a copied home.
    made.prepare()
    return made


@pytest.fixture
def log(tmp_path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def browser(home: PipelineHome, log: Path, tmp_path) -> Iterator[Browser]:
    port = free_port()
    dagster = Path(sys.executable).with_name("dagster")
    environment = {
        **environment_of(home.root),
        "DAGSTER_HOME": str(home.home.dagster),
        "PYTHONPATH": with_impatient_daemon(tmp_path),
    }
    with log.open("w") as output:
        server = subprocess.Popen(
            [dagster, "dev", "-w", "workspace.yaml", "-p", str(port)],
            cwd=REPOSITORY,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        made = Browser(port)
        await_until(made.is_there, "the UI", 180, {"dagster dev": server})
        yield made
    except ServiceError as error:
        pytest.fail(f"{error}\n{log.read_text()[-5000:]}")
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def has_ended(browser: Browser, backfill: str) -> bool:
    return browser.backfill_status(backfill) not in ("REQUESTED", "COMPLETING")


def test_a_backfill_of_two_shards_from_the_ui_is_one_run(
    browser: Browser, home: PipelineHome, built_home: PipelineHome, log: Path
):
    nodes = {node["assetKey"]["path"][0]: node for node in browser.ask(NODES)}
    assert set(nodes) == {
        key.to_user_string() for key in definitions().resolve_asset_graph().get_all_asset_keys()
    }
    stages = [name for name, node in nodes.items() if node["groupName"] == "build_dataset"]
    assert all(nodes[name]["partitionKeys"] == list(SHARDS) for name in stages)
    assert {node["repository"]["location"]["name"] for node in nodes.values()} == {"toolformer"}

    # Two at once over the same shards: the second waits for the first, then finds the work done.
    backfills = [browser.launch_backfill(stages, list(SHARDS)) for _ in range(2)]
    for backfill in backfills:
        await_until(partial(has_ended, browser, backfill), f"the end of {backfill}", 240)
        assert browser.backfill_status(backfill) == "COMPLETED_SUCCESS", log.read_text()[-5000:]
        (run,) = browser.runs_of(backfill)
        assert run["status"] == "SUCCESS"
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        assert tags["dagster/asset_partition_range_start"] == SHARDS[0]
        assert tags["dagster/asset_partition_range_end"] == SHARDS[-1]

    for table in ("candidate_calls", "executed_calls", "filtered_calls"):
        rows = home.rows(table)
        assert set(rows["tool"]) == {"Calendar", "Calculator"}
        expected = built_home.rows(table)
        expected = expected.filter(expected["tool"] != "WikiSearch")
        # There, calls of WikiSearch share batches with others, which changes the last digits.
        assert_frame_equal(rows.sort("call_id"), expected.sort("call_id"), abs_tol=2e-5)
    assert home.rows("documents").equals(built_home.rows("documents"))
    # A row count of each shard's own, although one run made both.
    with home.instance() as instance:
        for shard in SHARDS:
            assert (
                _row_count(instance, shard) == home.rows("candidate_calls", shards=[shard]).height
            )


def _row_count(instance, shard: str) -> int:
    import dagster as dg

    events = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey("candidate_calls"), asset_partitions=[shard]), limit=1
    )
    materialization = events.records[0].asset_materialization
    return materialization.metadata["dagster/partition_row_count"].value
