"""What a fault has done to a home: its rows beside those of the undisturbed one, and what is left.

Rows are compared by table, shard and partition, in the order of their key, bit for bit. Left out:

- `executed_calls.duration_ms`, `stage_costs.seconds`: times.
- `executed_calls.from_cache`: a call that was answered before the fault comes from the cache.
- `stage_costs.tokens_fed`: work that a kill threw away is not counted by the process that does it
  again, and a resumed pass counts what it feeds itself.
"""

import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from tests.homes import SmallHome

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
        return any(getattr(self, each.name) for each in fields(self))

    def add(self, other: "Damage", name: str = "") -> None:
        """Count another's too, under a name."""
        for each in fields(self)[:-1]:
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        self.remarks += [f"{name}: {remark}" if name else remark for remark in other.remarks]


def partitions_of(home: SmallHome) -> dict[Address, "pl.DataFrame"]:
    """The rows of every partition, without what depends on the process."""
    from warehouse.schema import table_schema, tables

    found = {}
    for table in tables():
        for info in home.warehouse.partitions(table):
            rows = home.warehouse.read_partition(table, info.shard, info.name)
            rows = rows.sort(table_schema(table).primary_key)
            found[table, info.shard, info.name] = rows.drop(PROCESS_DEPENDENT.get(table, ()))
    return found


def damage_of_rows(
    found: dict[Address, "pl.DataFrame"], expected: dict[Address, "pl.DataFrame"]
) -> Damage:
    """Rows that are missing, twice there, or other ones."""
    damage = Damage()
    for address in sorted({*found, *expected}):
        place = f"partition {'/'.join(address)}"
        if address not in found:
            damage.add(Damage(lost=expected[address].height, remarks=["is missing"]), place)
        elif address not in expected:
            damage.add(Damage(wrong=found[address].height, remarks=["is one too many"]), place)
        elif not found[address].equals(expected[address], null_equal=True):
            damage.add(_damage_of_partition(address[0], found[address], expected[address]), place)
    return damage


def _damage_of_partition(table: str, found: "pl.DataFrame", expected: "pl.DataFrame") -> Damage:
    from warehouse.schema import table_schema

    key = [name for name in table_schema(table).primary_key if name in expected.columns]
    lost = expected.join(found, on=key, how="anti").height
    doubled = found.height - found.select(key).unique().height
    theirs = {row.select(key).row(0): row for row in expected.iter_slices(1)}
    others = sum(
        not row.equals(theirs.get(row.select(key).row(0), row.clear()), null_equal=True)
        for row in found.iter_slices(1)
    )
    told = f"{lost} rows lost, {doubled} doubled, {others} new or changed"
    return Damage(lost=lost, doubled=doubled, wrong=others, remarks=[told])


def _files(home: SmallHome) -> dict[str, object]:
    """What is in files that are no partitions: manifest, settings, weights of models."""
    from ruamel.yaml import YAML
    from safetensors import safe_open

    from toolformer.settings.source_file import added_sources
    from toolformer.sources.manifest import Manifest

    file = home.home.settings_file
    found: dict[str, object] = {
        "toolformer.yaml": YAML(typ="safe").load(file.read_text()),
        "sources.json": added_sources(file),
    }
    for entry in Manifest.load(home.home.sources).active_shards:
        found[f"shard {entry.key} of the manifest"] = asdict(entry)
    for weights in home.home.models.glob("*/*.safetensors"):
        with safe_open(weights, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                found[f"{weights.parent.name}/{name}"] = tensors.get_tensor(name).tobytes()
    return found


def damage_of_leftovers(home: SmallHome) -> Damage:
    """Temporary files, checkpoints, held locks, living processes, unfinished runs."""
    from toolformer.sources.ingestion import STAGED

    damage = damage_of_the_living(home)
    _sweep_later(home)
    left = [path for path in home.root.rglob("*.tmp") if path.exists()]
    left += {*home.home.warehouse.glob("*/shard=[!n]*/*")} - {
        info.path for info in home.warehouse.partitions()
    }
    left += [path for path in home.home.checkpoints.rglob("*") if path.is_file()]
    # Those of devices and of Dagster's records are few.
    locks = (home.root / "locks").iterdir() if (home.root / "locks").exists() else ()
    left += [path for path in locks if not path.stem.startswith(("device-", "records"))]
    left += list((home.home.sources / STAGED).glob("*"))
    if left:
        named = ", ".join(str(path.relative_to(home.root)) for path in sorted(left)[:3])
        damage.remarks.append(f"{len(left)} files left over: {named}")
    if unfinished := _unfinished_runs(home):
        told = [f"Dagster shows {unfinished} unfinished runs"]
        damage.add(Damage(running=unfinished, remarks=told))
    return damage


def _sweep_later(home: SmallHome) -> None:
    """Sweep as ten minutes after a kill, or after a file was superseded."""
    from warehouse.catalogue import shards_in
    from warehouse.warehouse import Warehouse

    warehouse = Warehouse(home.home.warehouse, home.home.database, home.home.output_lock)
    for path in warehouse.folder.glob("*/shard=*/*"):
        os.utime(path, (0, 0))
    warehouse.sweep(shards_in(warehouse.folder))


def damage_of_owners(home: SmallHome) -> Damage:
    """Active shards of sources that are not listed."""
    from toolformer.settings.settings_file import listed_sources
    from toolformer.sources.manifest import Manifest

    active = Manifest.load(home.home.sources).active_shards
    unowned = {entry.source for entry in active} - listed_sources(home.home.settings_file)
    return Damage(
        wrong=len(unowned), remarks=[f"has shards and is not listed: {name}" for name in unowned]
    )


def damage_of_the_living(home: SmallHome) -> Damage:
    """Held locks and living processes."""
    held, running = _held_locks(home), processes_of(home)
    told = [f"lock {name} is held" for name in held]
    told += [f"process {number} still runs" for number in running]
    return Damage(locks=len(held), running=len(running), remarks=told)


def _held_locks(home: SmallHome) -> list[str]:
    from filelock import FileLock, Timeout

    held = []
    for file in sorted(home.root.glob("*/*.lock")):
        try:
            with FileLock(file).acquire(timeout=0):
                pass
        except Timeout:
            held.append(file.name)
    return held


def processes_of(home: SmallHome) -> list[int]:
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


def _unfinished_runs(home: SmallHome) -> int:
    import dagster as dg

    if not home.home.dagster.exists():
        return 0
    states = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]
    states += [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.QUEUED]
    with dg.DagsterInstance.from_config(str(home.home.dagster)) as instance:
        return instance.get_runs_count(dg.RunsFilter(statuses=states))


def damage_of(home: SmallHome, expected: SmallHome) -> Damage:
    """Everything that can be told from outside once all commands have ended."""
    damage = damage_of_rows(partitions_of(home), partitions_of(expected))
    found, wanted = _files(home), _files(expected)
    differing = sorted(n for n in {*found, *wanted} if found.get(n) != wanted.get(n))
    remarks = [f"{name} differs" for name in differing[:5]]
    damage.add(Damage(wrong=len(differing), remarks=remarks))
    damage.add(damage_of_leftovers(home))
    return damage
