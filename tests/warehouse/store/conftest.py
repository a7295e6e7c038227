"""Fixtures of the tests of object stores."""

from itertools import count
from pathlib import Path

import pytest

from tests.s3 import Store
from tests.warehouse.rows import SHARD, put
from warehouse.published import list_partitions
from warehouse.schema import tables
from warehouse.store.files import MirroredFiles
from warehouse.store.mirrored_store import MirroredStore
from warehouse.store.objects import ObjectStore
from warehouse.warehouse import Warehouse

TABLE, NAME = "stage_costs", "Calendar.sampling"
_BUCKETS = count()


@pytest.fixture
def bucket(s3: Store, monkeypatch) -> str:
    """The address of a new bucket, with the environment that leads there."""
    s3.lead_to(monkeypatch)
    # For clients of the tests' own; ours goes by the endpoint.
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    name = f"bucket-{next(_BUCKETS)}"
    s3.make_bucket(name)
    return f"s3://{name}/prefix"


class Machine:
    """A home of its own over a store that others use too: copies of its files, and a warehouse."""

    def __init__(self, url: str, root: Path):
        self.objects = ObjectStore(url, patience=2.0)
        self.root = root
        self.files = MirroredFiles(self.objects, root, root / "copies")
        self.store = MirroredStore(self.objects, root / "warehouse", self.files)
        self.warehouse = Warehouse(root / "warehouse", root / "w.duckdb", self.store)

    def write(self, tokens: int, *, shard: str = SHARD) -> None:
        # As the run is in what a stage stores: what two machines make has different digests.
        costs = {"tool": "Calendar", "tokens_fed": tokens}
        put(self.warehouse, TABLE, costs, shard=shard, name=NAME, run=self.root.name)

    def tokens(self) -> list[int]:
        return self.warehouse.query(f"select tokens_fed from {TABLE}")["tokens_fed"].to_list()

    def fetched(self) -> list[str]:
        return [
            f"{info.table}/{info.shard}/{info.name}"
            for info in list_partitions(self.warehouse.folder, tables())
            if info.path is not None and info.path.exists()
        ]

    def write_file(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


Machines = tuple[Machine, Machine]


@pytest.fixture
def machines(bucket: str, tmp_path) -> Machines:
    return Machine(bucket, tmp_path / "one"), Machine(bucket, tmp_path / "two")
