"""Two nodes of Ray, PostgreSQL and a store: a process and a node are killed in the middle.

`make test-cluster` runs it. `make test` does not: it takes both cores for minutes.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.__main__ import last_words
from tests.cluster.namespace import apart, missing_namespaces
from tests.cluster.postgres import programs_missing
from tests.conftest import REPOSITORY
from tests.processes import start

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.model]
_PACKAGES = ("ray", "dagster_ray", "dagster_postgres", "psycopg2", "obstore", "moto")
_SECONDS = 540.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not `tmp_path`: Ray's sockets lie there, and a path to one has 107 characters at most."""
    with tempfile.TemporaryDirectory(prefix="cluster-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def test_a_shaken_cluster_has_the_rows_of_one_machine_each_made_once(
    embedded_model_path: Path, folder: Path
):
    for package in _PACKAGES:
        pytest.importorskip(package, reason=f"{package} is not installed (extra `ray`, moto)")
    if reason := programs_missing() or missing_namespaces():
        pytest.skip(reason)
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
