"""An S3 store on the loopback address: moto, which honours conditions on writing."""

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from tests.processes import answers, await_until, end, start

_ADDRESS = "http://127.0.0.1:9000"
_PLACE = "toolformer/home"
STORE = f"s3://{_PLACE}"
_START_SECONDS = 30.0
# As moto's log has it; refused ones are coloured.
_PUT = re.compile(rf"PUT /{_PLACE}/(\w+)/shard=([^/\s]+)/(\S+)@\d{{8}}-\w+\.parquet HTTP/1")


@dataclass(frozen=True, slots=True)
class Store:
    """A running store with one bucket, and the log of what it was asked."""

    log: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """How a client finds it and signs on."""
        return {
            "AWS_ENDPOINT_URL": _ADDRESS,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "of-tests",
            "AWS_SECRET_ACCESS_KEY": "of-tests",
        }

    def publications(self) -> Counter[tuple[str, str, str]]:
        """How often a version of each partition was put here, by table, shard and name."""
        log = unquote(self.log.read_text())
        return Counter(match.group(1, 2, 3) for match in _PUT.finditer(log))


@contextmanager
def object_store(log: Path) -> Iterator[Store]:
    """A new store, until the end of the block."""
    host, _, port = _ADDRESS.removeprefix("http://").partition(":")
    command = [sys.executable, "-m", "moto.server", "-H", host, "-p", port]
    process = start(command, log=log, environment=os.environ)
    bucket = f"{_ADDRESS}/{_PLACE.partition('/')[0]}"
    try:
        # The bucket is made by the first request that is answered.
        await_until(
            lambda: answers(bucket, "PUT"), "a bucket of moto", _START_SECONDS, {"moto": process}
        )
        yield Store(log)
    finally:
        end(process)
