"""An S3 store on the loopback address: moto, which honours conditions on writing."""

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from warehouse.store.objects import ObjectStore

from tests.processes import answers, await_until, end, start
from warehouse.catalogue import parsed
from warehouse.layout import CATALOGUE_FOLDER

_ADDRESS = "http://127.0.0.1:9000"
_PLACE = "toolformer/home"
STORE = f"s3://{_PLACE}"
_START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Store:
    """A running store with one bucket."""

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
        """How often each partition was published here, by table, shard and name."""
        os.environ.update(self.environment)
        store = ObjectStore(STORE)
        versions = set()
        for stored in store.listed(CATALOGUE_FOLDER):
            shard = stored.path.split("/")[1]
            for entry in parsed(store.read(stored.path) or b"", shard).entries():
                versions.add(((entry.table, shard, entry.name), entry.seal))
        return Counter(address for address, _ in versions)


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
        yield Store()
    finally:
        end(process)
