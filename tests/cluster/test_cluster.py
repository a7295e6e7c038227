"""Two Ray nodes, PostgreSQL and a shared folder: one node is killed in the middle of a backfill.

`make test-cluster` runs it. `make test` does not: it takes both cores for minutes.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.cluster.__main__ import last_words
from tests.cluster.postgres import is_installed
from tests.cluster.scenario import makers_of, remade
from tests.conftest import REPOSITORY
from tests.homes import SmallHome
from tests.processes import start
from tests.warehouse.rows import SHARD, put

_PACKAGES = ("ray", "dagster_ray", "dagster_postgres", "psycopg2")
_SECONDS = 540.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not `tmp_path`: Ray's sockets lie there, and a path to one has 107 characters at most."""
    with tempfile.TemporaryDirectory(prefix="cluster-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def apart(command: Sequence[str]) -> list[str]:
    """The command in network and process namespaces of its own, so nothing outlives it."""
    # A user who is not root may do this in a user namespace.
    rights = [] if os.geteuid() == 0 else ["--map-current-user", "--keep-caps"]
    options = ["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return ["unshare", *rights, *options, "--", *command]


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.model
def test_a_backfill_that_lost_a_node_has_the_rows_of_one_process_when_launched_again(
    embedded_model_path: Path, folder: Path
):
    for package in _PACKAGES:
        pytest.importorskip(package, reason=f"{package} is not installed (extra `ray`)")
    if not is_installed():
        pytest.skip("PostgreSQL is not installed")
    if subprocess.run(apart(["true"]), check=False).returncode:
        pytest.skip("unshare makes no namespaces here")
    command = [sys.executable, "-m", "tests.cluster", str(folder), str(embedded_model_path)]
    process = start(apart(command), log=None, environment=os.environ, folder=REPOSITORY)
    try:
        code = process.wait(_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.fail(f"{last_words(folder)}\nno end after {_SECONDS:.0f} s")
    finally:
        process.kill()
        process.wait()
    assert code == 0, "it has said why"


def test_a_partition_that_another_run_made_again_is_noticed(tmp_path):
    home = SmallHome(tmp_path)
    put(home.warehouse, "documents", fingerprint="x", run="first")
    before = makers_of(home)
    assert before == {("documents", SHARD, "all"): "first"}
    assert remade(before, makers_of(home)) == []
    put(home.warehouse, "documents", fingerprint="x", run="second")
    assert remade(before, makers_of(home)) == [f"documents/{SHARD}/all was made again"]
    assert remade(before, {}) == [f"documents/{SHARD}/all was made again"]
