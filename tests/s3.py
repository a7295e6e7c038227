"""An S3 store for tests: moto on a free port of this machine.

Tests that need it are skipped where moto or obstore is missing.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

import pytest

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
}
_REASON = "needs the extras `s3` and `clients`"


class Store:
    """A running store.

    Attributes:
        environment: the variables that lead to it.
    """

    def __init__(self, server) -> None:
        self._server = server
        host, port = server.get_host_and_port()
        self._endpoint = f"http://{host}:{port}"
        self.environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": self._endpoint}

    def lead_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Set these variables."""
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)

    def make_bucket(self, bucket: str) -> None:
        self._ask("PUT", bucket)

    def put(self, bucket: str, key: str, content: bytes) -> None:
        import obstore

        obstore.put(self._bucket(bucket), key, content)

    def delete(self, bucket: str, key: str) -> None:
        import obstore

        obstore.delete(self._bucket(bucket), key)

    def reset(self) -> None:
        """Empties the store."""
        self._ask("POST", "moto-api/reset", b"")

    def stop(self) -> None:
        """Ends the store; nobody answers at its port."""
        self._server.stop()

    def _bucket(self, bucket: str):
        from obstore.store import S3Store

        config = {name.lower(): value for name, value in self.environment.items()}
        return S3Store(bucket, config=config, client_options={"allow_http": True})

    def _ask(self, method: str, path: str, content: bytes | None = None) -> None:
        with urlopen(Request(f"{self._endpoint}/{path}", content, method=method), timeout=20):
            pass


@contextmanager
def running_store() -> Iterator[Store]:
    """An empty store, until the end of the block."""
    pytest.importorskip("obstore", reason=_REASON)
    moto = pytest.importorskip("moto.server", reason=_REASON)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield Store(server)
    finally:
        server.stop()
