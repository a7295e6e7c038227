"""Times a backfill of many small shards as the UI launches it, and what the UI answers meanwhile.

A shard has one record, so that what is measured is what a shard costs besides its calls: the
wall-clock time of the backfill, less the seconds that `stage_costs` has of sampling, execution and
scoring. What is made once per home, such as the converted model, is made before, by one shard.

    python -m benchmarks.backfill SOURCE --home FOLDER [--shards 200] [--tools Calendar]
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assets.pipeline import PIPELINE
from benchmarks.build import run_command
from benchmarks.machine import machine
from dagster_project.home import Home
from dagster_project.wiring.warehouse import open_warehouse
from tools.registry import tool_names

_LAUNCH = """
mutation Launch($parameters: LaunchBackfillParams!) {
  answer: launchPartitionBackfill(backfillParams: $parameters) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
_STATUS = """
query Status($id: String!) {
  answer: partitionBackfillOrError(backfillId: $id) {
    __typename
    ... on PartitionBackfill { status }
  }
}
"""
# What the page of an asset asks for: which of its partitions are made.
_ASSET = """
query Asset($key: AssetKeyInput!) {
  answer: assetNodeOrError(assetKey: $key) {
    __typename
    ... on AssetNode { partitionStats { numMaterialized numFailed } }
  }
}
"""
_START_SECONDS = 120.0
_POLL_SECONDS = 1.0


class Browser:
    """Asks the web server what the UI asks."""

    def __init__(self, port: int):
        self._address = f"http://127.0.0.1:{port}"

    def is_there(self) -> bool:
        """Whether the server answers."""
        try:
            with urllib.request.urlopen(f"{self._address}/server_info", timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The field `answer` of what the server says.

        Raises:
            RuntimeError: it refused the query.
        """
        request = urllib.request.Request(
            f"{self._address}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as response:
            content = json.load(response)
        if content.get("errors"):
            raise RuntimeError(f"The UI refused a query: {content['errors']}")
        return content["data"]["answer"]


@contextmanager
def running_ui(home: Path, port: int) -> Iterator[Browser]:
    """The UI of a home, until the end of the block.

    Raises:
        RuntimeError: it does not start.
    """
    server = subprocess.Popen(
        [sys.executable, "-m", "dagster_project.commands.ui", "-p", str(port)],
        env={**os.environ, "TOOLFORMER_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    browser, began = Browser(port), time.monotonic()
    try:
        while not browser.is_there():
            if server.poll() is not None or time.monotonic() - began > _START_SECONDS:
                raise RuntimeError(f"The UI of {home} does not answer on port {port}.")
            time.sleep(_POLL_SECONDS)
        yield browser
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def launch(browser: Browser, shards: list[str]) -> str:
    """Begin to materialise the stages of these shards; the id of the backfill.

    Raises:
        RuntimeError: the UI did not launch it.
    """
    launched = browser.ask(
        _LAUNCH,
        parameters={
            "assetSelection": [{"path": [stage]} for stage in PIPELINE.names],
            "partitionNames": shards,
            "fromFailure": False,
            "tags": [],
        },
    )
    if "backfillId" not in launched:
        raise RuntimeError(f"The UI launched no backfill: {launched}")
    return launched["backfillId"]


def backfill(browser: Browser, shards: list[str]) -> tuple[float, list[float]]:
    """Materialise the stages of these shards; the seconds, and those of each answer meanwhile.

    Raises:
        RuntimeError: the backfill did not succeed.
    """
    began = time.monotonic()
    launched = launch(browser, shards)
    answers: list[float] = []
    while True:
        status = browser.ask(_STATUS, id=launched)["status"]
        if status == "COMPLETED_SUCCESS":
            return time.monotonic() - began, answers
        if status not in ("REQUESTED", "IN_PROGRESS"):
            raise RuntimeError(f"The backfill ended as {status}; its runs stand in the home.")
        asked = time.monotonic()
        browser.ask(_ASSET, key={"path": [PIPELINE.names[-1]]})
        answers.append(time.monotonic() - asked)
        time.sleep(_POLL_SECONDS)


def _computed(home: Path, shards: list[str]) -> float:
    """Seconds that the stages of these shards computed."""
    rows = open_warehouse(Home(home)).query("select shard, seconds from stage_costs")
    return sum(seconds for shard, seconds in rows.iter_rows() if shard in set(shards))


def main() -> None:
    """Run the measurement and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--home", type=Path, required=True, help="a folder that is not there yet")
    parser.add_argument("--shards", type=int, default=200)
    parser.add_argument("--tools", default="Calendar")
    parser.add_argument("--port", type=int, default=3070)
    options = parser.parse_args()

    home = options.home.absolute()
    home.mkdir(parents=True)
    chosen = options.tools.split(",")
    settings = {
        "preset": "demo",
        "corpus": {
            "sources": [{"path": str(options.source.absolute()), "limit": options.shards + 1}],
            "shard_size": 1,
        },
        "tools": {name: {"is_enabled": name in chosen} for name in tool_names()},
    }
    (home / "toolformer.yaml").write_text(json.dumps(settings))
    first = run_command(home, "build", "--shards", "shard-00000")
    shards = [f"shard-{number:05d}" for number in range(1, options.shards + 1)]
    with running_ui(home, options.port) as browser:
        seconds, answers = backfill(browser, shards)
    computed = _computed(home, shards)
    figures = {
        "shards": len(shards),
        "first_shard_seconds": round(first, 1),
        "backfill_seconds": round(seconds, 1),
        "computed_seconds": round(computed, 1),
        "overhead_seconds_per_shard": round((seconds - computed) / len(shards), 2),
        "ui_answer_median_seconds": round(statistics.median(answers), 2),
        "ui_answer_longest_seconds": round(max(answers), 2),
        "unchanged_build_seconds": round(run_command(home, "build"), 1),
        "machine": machine(),
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
