"""What the UI's pages ask the web server."""

import json
import urllib.error
import urllib.request
from typing import Any

from assets.pipeline import PIPELINE

_LAUNCH = """
mutation Launch($parameters: LaunchBackfillParams!) {
  answer: launchPartitionBackfill(backfillParams: $parameters) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""


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
