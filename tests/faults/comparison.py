"""What a fault has done to a home: its rows beside those of the undisturbed one, and what is left.

Rows are compared by table, shard and partition, in the order of their key, bit for bit. Left out:

- `executed_calls.duration_ms`, `stage_costs.seconds`: times.
- `executed_calls.from_cache`: a call that was answered before the fault comes from the cache.
- `stage_costs.tokens_fed`: work that a kill threw away is not counted by the process that does it
  again, and a resumed pass counts what it feeds itself.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.home import FaultyHome

if TYPE_CHECKING:
    import polars as pl

PROCESS_DEPENDENT = {
    "executed_calls": ("duration_ms", "from_cache"),
    "stage_costs": ("seconds", "tokens_fed"),
}
Address = tuple[str, str, str]


@dataclass(slots=True)
class Damage:
    """What is wrong, counted; empty when nothing is."""

    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    running: int = 0
    locks: int = 0
    remarks: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.lost or self.doubled or self.wrong or self.running or self.locks or self.remarks
        )

    def add(self, other: "Damage") -> None:
        """Count another's too."""
        self.lost += other.lost
        self.doubled += other.doubled
        self.wrong += other.wrong
        self.running += other.running
        self.locks += other.locks
        self.remarks += other.remarks


def partitions_of(
    home: FaultyHome,
) -> dict[Address, "pl.DataFrame"]:
    """The rows of every partition, by table, shard and partition."""
    from warehouse.schema import tables
    from warehouse.warehouse import Warehouse

    warehouse = Warehouse(home.home.warehouse, home.home.database)
    found = {}
    for table in tables():
        for info in warehouse.partitions(table):
            rows = comparable(table, warehouse.read_partition(table, info.shard, info.name))
            found[table, info.shard, info.name] = rows
    return found


def comparable(table: str, rows: "pl.DataFrame") -> "pl.DataFrame":
    """Rows in the order of their key, without what depends on the process."""
    from warehouse.schema import table_schema

    ordered = rows.sort(table_schema(table).primary_key)
    return ordered.drop(PROCESS_DEPENDENT.get(table, ()))


def damage_of_rows(
    found: dict[Address, "pl.DataFrame"], expected: dict[Address, "pl.DataFrame"]
) -> Damage:
    """Rows that are missing, twice there, or other ones."""
    damage = Damage()
    for address in sorted({*found, *expected}):
        place = "/".join(address)
        if address not in found:
            damage.lost += expected[address].height
            damage.remarks.append(f"partition {place} is missing")
        elif address not in expected:
            damage.wrong += found[address].height
            damage.remarks.append(f"partition {place} should not be there")
        else:
            damage.add(_damage_of_partition(place, address[0], found[address], expected[address]))
    return damage


def _damage_of_partition(
    place: str, table: str, found: "pl.DataFrame", expected: "pl.DataFrame"
) -> Damage:
    from warehouse.schema import table_schema

    if found.equals(expected, null_equal=True):
        return Damage()
    key = [name for name in table_schema(table).primary_key if name in expected.columns]
    damage = Damage(
        lost=expected.join(found, on=key, how="anti").height,
        doubled=found.height - found.select(key).unique().height,
    )
    new = found.join(expected, on=key, how="anti").height
    theirs = {row[:1]: row[1] for row in _by_key(expected, key)}
    changed = sum(theirs.get(row[:1], row[1]) != row[1] for row in _by_key(found, key))
    damage.wrong = new + changed
    damage.remarks.append(
        f"partition {place}: {damage.lost} rows lost, {damage.doubled} doubled, {new} new, "
        f"{changed} changed"
    )
    return damage


def _by_key(rows: "pl.DataFrame", key: list[str]) -> Iterable[tuple[str, str]]:
    for row in rows.iter_rows(named=True):
        yield repr([row[name] for name in key]), repr(row)


def damage_of_files(home: FaultyHome, expected: FaultyHome) -> Damage:
    """Files that are no partitions: manifest, settings, weights of models."""
    damage = Damage()
    for name, read in (
        ("manifest", _manifest),
        ("settings", _settings),
        ("weights", _weights),
    ):
        found, wanted = read(home), read(expected)
        if found != wanted:
            damage.wrong += 1
            differing = sorted(
                place for place in {*found, *wanted} if found.get(place) != wanted.get(place)
            )
            damage.remarks.append(f"{name}: {', '.join(differing[:5])} differ")
    return damage


def _manifest(home: FaultyHome) -> dict[str, object]:
    from dataclasses import asdict

    from toolformer.sources.manifest import Manifest

    shards = Manifest.load(home.home.sources).active_shards
    return {entry.key: asdict(entry) for entry in shards}


def _settings(home: FaultyHome) -> dict[str, object]:
    from ruamel.yaml import YAML

    from dagster_project.settings.source_file import added_sources

    file = home.home.settings_file
    return {
        "toolformer.yaml": YAML(typ="safe").load(file.read_text()),
        "sources.yaml": added_sources(file),
    }


def _weights(home: FaultyHome) -> dict[str, object]:
    from safetensors import safe_open

    weights: dict[str, object] = {}
    for file in home.home.models.glob("*/*.safetensors"):
        with safe_open(file, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                weights[f"{file.parent.name}/{name}"] = tensors.get_tensor(name).tobytes()
    return weights


def damage_of_leftovers(home: FaultyHome) -> Damage:
    """Temporary files, checkpoints, held locks, living processes, unfinished runs."""
    from toolformer.sources.ingestion import STAGED

    damage = Damage()
    left = [path for path in home.root.rglob("*.tmp") if path.exists()]
    left += [path for path in home.home.checkpoints.rglob("*") if path.is_file()]
    left += list((home.root / "locks").glob("process-*"))
    left += list((home.home.sources / STAGED).glob("*"))
    if left:
        named = ", ".join(str(path.relative_to(home.root)) for path in sorted(left)[:3])
        damage.remarks.append(f"{len(left)} files left over: {named}")
    held = held_locks(home)
    damage.locks = len(held)
    damage.remarks += [f"lock {name} is held" for name in held]
    running = processes_of(home)
    damage.running = len(running)
    damage.remarks += [f"process {number} still runs" for number in running]
    unfinished = unfinished_runs(home)
    damage.running += unfinished
    if unfinished:
        damage.remarks.append(f"Dagster shows {unfinished} unfinished runs")
    return damage


def held_locks(home: FaultyHome) -> list[str]:
    """Names of lock files that somebody holds."""
    from filelock import FileLock, Timeout

    held = []
    for file in sorted(home.root.glob("*/*.lock")):
        lock = FileLock(file)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            held.append(file.name)
        else:
            lock.release()
    return held


def processes_of(home: FaultyHome) -> list[int]:
    """Numbers of living processes whose environment names the home; none where /proc is not."""
    needle = f"TOOLFORMER_HOME={home.root}\0".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = needle in (folder / "environ").read_bytes()
            is_dead = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if is_ours and not is_dead and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def unfinished_runs(home: FaultyHome) -> int:
    """How many runs Dagster takes for going on."""
    import dagster as dg

    if not home.home.dagster.exists():
        return 0
    states = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]
    states += [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.QUEUED]
    with dg.DagsterInstance.from_config(str(home.home.dagster)) as instance:
        return instance.get_runs_count(dg.RunsFilter(statuses=states))


def damage_of(home: FaultyHome, expected: FaultyHome) -> Damage:
    """Everything that can be told from outside once all commands have ended."""
    damage = damage_of_rows(partitions_of(home), partitions_of(expected))
    damage.add(damage_of_files(home, expected))
    damage.add(damage_of_leftovers(home))
    return damage
