"""Asks Dagster's web server what the UI asks."""

import json
import os
import urllib.request
from pathlib import Path
from typing import Any

from tests.conftest import REPOSITORY
from tests.processes import answers

LAUNCH = """
mutation LaunchPartitionBackfill($backfillParams: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfillParams) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
    ... on PartitionKeysNotFoundError { message }
  }
}
"""
STATUS = """
query Backfill($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    __typename
    ... on PartitionBackfill {
      status
      error { message }
      unfinishedRuns { id status }
    }
  }
}
"""
RUNS = """
query Runs($filter: RunsFilter!) {
  runsOrError(filter: $filter) {
    __typename
    ... on Runs { results { runId status tags { key value } } }
  }
}
"""
# It looks for backfills every half a minute, and no setting changes that.
_IMPATIENT_DAEMON = """
import sys

if "dagster._daemon" in sys.orig_argv:
    import dagster._daemon.controller

    dagster._daemon.controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 2
"""


def with_impatient_daemon(folder: Path) -> str:
    """A PYTHONPATH with which Dagster's daemon looks for backfills every 2 s."""
    (folder / "sitecustomize.py").write_text(_IMPATIENT_DAEMON)
    return os.pathsep.join(map(str, (folder, REPOSITORY)))


class Browser:
    """Asks the webserver what the UI asks."""

    def __init__(self, port: int):
        self.address = f"http://127.0.0.1:{port}"

    def is_there(self) -> bool:
        return answers(f"{self.address}/server_info")

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"{self.address}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            content = json.load(answer)
        assert not content.get("errors"), content
        (value,) = content["data"].values()
        return value

    def launch_backfill(self, assets: list[str], partitions: list[str]) -> str:
        launched = self.ask(
            LAUNCH,
            backfillParams={
                "assetSelection": [{"path": [name]} for name in assets],
                "partitionNames": partitions,
                "fromFailure": False,
                "tags": [],
            },
        )
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return launched["backfillId"]

    def backfill_status(self, backfill: str) -> str:
        found = self.ask(STATUS, id=backfill)
        assert found["error"] is None, found
        return found["status"]

    def runs_of(self, backfill: str) -> list[dict]:
        tag = {"key": "dagster/backfill", "value": backfill}
        return self.ask(RUNS, filter={"tags": [tag]})["results"]
