"""Full disks: a small file system that fills up under a command, and writes that are refused.

The small file system is the real thing, since DuckDB, SQLite and safetensors write natively, but
it needs the right to mount. Refused writes can be had everywhere and reach Python's own files.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.faults.comparison import Damage, damage_of_owners, damage_of_rows, partitions_of
from tests.faults.home import Done, FaultyHome
from tests.faults.injection import Event
from tests.faults.tries import Outcome, Try, repeat, struck, told_plainly, tries_at_events, try_all
from tests.faults.undisturbed import Stage, Workshop

# How often each command meets a full disk, and where: shares of what it writes in all.
_PLACES = {"ingest": 2, "build": 5, "train": 2, "evaluate": 1}
_REFUSALS = {
    "ingest": ("(sources|top|warehouse/.*)", 5),
    "build": ("cache/.*", 3),
    "train": ("(cache/.*|models/.*)", 3),
}
_SPARE_BYTES = 256 * 2**20


def fill_disks(workshop: Workshop) -> list[Outcome]:
    """Fill, look, make room, repeat, compare."""
    refusals: list[Try] = []
    for command, (areas, count) in _REFUSALS.items():
        count = int(command == "ingest") if workshop.is_short else count
        stage, fault = workshop.stages[command], "full disk: refused writes"
        refusals += tries_at_events(workshop, stage, fault, f"open {areas}", count, _refuse)
    return [*_small_disks(workshop), *try_all(refusals)]


def _small_disks(workshop: Workshop) -> list[Outcome]:
    fault = "full disk: small file system"
    try:
        with _mounted(workshop.place("probe")):
            pass
    except (OSError, subprocess.CalledProcessError) as error:
        return [Outcome(fault, notes=[f"not run: needs the right to mount a tmpfs ({error})"])]
    tries = []
    for command, count in {"build": 1}.items() if workshop.is_short else _PLACES.items():
        stage = workshop.stages[command]
        chance = workshop.chance(f"disk {command}")
        for number in range(count):
            # One in each stretch of the command, so that early and late writes are both met.
            share = (number + chance.random() * 0.9) / count
            place = workshop.place(f"disk-{command}-{number}")
            told = f"{command}, full after {share:.0%} of its bytes"
            tries.append(Try(fault, told, partial(_fill, place, stage, share)))
    return try_all(tries)


def _fill(folder: Path, stage: Stage, share: float) -> Damage:
    with _mounted(folder):
        home = stage.before.copy(folder / "home")
        free = int((_bytes_of(stage.after) - _bytes_of(stage.before)) * share)
        ballast = folder / "ballast"
        ballast.write_bytes(bytes(max(shutil.disk_usage(folder).free - free, 0)))
        done = home.run(*stage.arguments)
        ballast.unlink()
        return _after(done, home, stage)


def _refuse(workshop: Workshop, name: str, stage: Stage, event: Event) -> Damage:
    home, done, damage = struck(workshop, name, stage, event, "full")
    damage.add(_after(done, home, stage))
    return damage


def _after(done: Done, home: FaultyHome, stage: Stage) -> Damage:
    """The user was told, the rows from before are there, and the repeat makes the others."""
    damage = told_plainly(done)
    damage.add(damage_of_owners(home), "on the full disk")
    before, found = partitions_of(stage.before), partitions_of(home)
    kept = {address: found[address] for address in before if address in found}
    damage.add(damage_of_rows(kept, before), "on the full disk")
    damage.add(repeat(home, stage))
    return damage


@contextmanager
def _mounted(folder: Path) -> Iterator[None]:
    """A file system in memory at a folder."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SPARE_BYTES}", "tmpfs", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def _bytes_of(home: FaultyHome) -> int:
    return sum(path.stat().st_size for path in home.root.rglob("*") if path.is_file())
