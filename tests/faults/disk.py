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

from tests.faults.comparison import Damage, damage_of_rows, partitions_of
from tests.faults.home import Done, FaultyHome
from tests.faults.injection import Event, drawn, striking
from tests.faults.tries import Outcome, Try, repeat, told_plainly, try_all
from tests.faults.undisturbed import Stage, Workshop

# How often each command meets a full disk, and where: shares of what it writes in all.
_PLACES = {"ingest": 2, "build": 5, "train": 2, "evaluate": 1}
_REFUSALS = {
    "ingest": ("(sources|top)", 2),
    "build": ("cache/.*", 3),
    "train": ("(cache/.*|models/.*)", 3),
}
_SPARE_BYTES = 256 * 2**20
_BALLAST = "ballast"


def fill_disks(workshop: Workshop) -> list[Outcome]:
    """Fill, look, make room, repeat, compare."""
    return [*_small_disks(workshop), *try_all(_refusals(workshop))]


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
            name = f"disk-{command}-{number}"
            told = f"{command}, full after {share:.0%} of its bytes"
            tries.append(Try(fault, told, partial(_fill, workshop, name, stage, share)))
    return try_all(tries)


def _fill(workshop: Workshop, name: str, stage: Stage, share: float) -> Damage:
    folder = workshop.place(name)
    with _mounted(folder):
        home = stage.before.copy(folder / "home")
        needed = _bytes_of(stage.after) - _bytes_of(stage.before)
        ballast = folder / _BALLAST
        _leave_free(ballast, int(needed * share))
        done = home.run(*stage.arguments)
        ballast.unlink()
        damage = _told_and_kept(done, home, stage)
        damage.add(repeat(home, stage))
    return damage


def _told_and_kept(done: Done, home: FaultyHome, stage: Stage) -> Damage:
    """The user was told, and the rows from before are there."""
    damage = told_plainly(done)
    before = partitions_of(stage.before)
    found = partitions_of(home)
    kept = {address: found[address] for address in before if address in found}
    damage.add(damage_of_rows(kept, before), "on the full disk")
    return damage


def _refusals(workshop: Workshop) -> list[Try]:
    tries = []
    for command, (areas, count) in _REFUSALS.items():
        if workshop.is_short:
            count = int(command == "ingest")
        stage = workshop.stages[command]
        chance = workshop.chance(f"refusal {command}")
        events = drawn(stage.events, f"open {areas}", count, chance)
        tries += [
            Try(
                "full disk: refused writes",
                f"{command} from {event} ({event.path}) on",
                partial(_refuse, workshop, f"refusal-{command}-{number}", stage, event),
            )
            for number, event in enumerate(events)
        ]
    return tries


def _refuse(workshop: Workshop, name: str, stage: Stage, event: Event) -> Damage:
    home = stage.before.copy(workshop.place(name))
    struck = home.root.with_name(f"{name}.struck")
    done = home.run(*stage.arguments, extra=striking("full", home.root, event, struck))
    damage = _told_and_kept(done, home, stage)
    if not struck.exists():
        damage.remarks.append("the event did not come")
    damage.add(repeat(home, stage))
    return damage


@contextmanager
def _mounted(folder: Path) -> Iterator[None]:
    """A file system in memory at a folder.

    Raises:
        OSError, CalledProcessError: it cannot be had here.
    """
    folder.mkdir(parents=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SPARE_BYTES}", "tmpfs", str(folder)],
        check=True,
        capture_output=True,
    )
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def _leave_free(ballast: Path, free: int) -> None:
    ballast.write_bytes(bytes(max(shutil.disk_usage(ballast.parent).free - free, 0)))


def _bytes_of(home: FaultyHome) -> int:
    return sum(path.stat().st_size for path in home.root.rglob("*") if path.is_file())
