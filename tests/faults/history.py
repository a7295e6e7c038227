"""What is stored is enough: without Dagster's records, and in any order."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from tests.faults.comparison import Damage, damage_of
from tests.faults.home import COMMANDS, SHARDS, FaultyHome
from tests.faults.tries import Outcome, Try, failure, try_all
from tests.faults.undisturbed import Workshop


def change_history(workshop: Workshop) -> list[Outcome]:
    """Forget what Dagster knew; build shard by shard."""
    tries = [
        Try("Dagster's storage removed", "build", partial(_forget, workshop)),
    ]
    if not workshop.is_short:
        tries.append(Try("shards one by one", "the last first", partial(_one_by_one, workshop)))
    return try_all(tries)


def _forget(workshop: Workshop) -> Damage:
    home = workshop.finished.copy(workshop.place("forgotten"))
    shutil.rmtree(home.home.dagster)
    damage = Damage()
    with _nothing_is_made(home, damage):
        for command in COMMANDS[1:2] if workshop.is_short else COMMANDS[1:]:
            damage.add(failure(home.run(command), command))
    damage.add(damage_of(home, workshop.finished))
    return damage


@contextmanager
def _nothing_is_made(home: FaultyHome, damage: Damage) -> Iterator[None]:
    """Partitions and models that were made again meanwhile are damage."""
    before = _files(home)
    yield
    if made := sorted({*_files(home)} - {*before}):
        damage.add(Damage(wrong=len(made), remarks=[f"made again: {made[:5]}"]))


def _files(home: FaultyHome) -> Iterator[tuple[str, int, int]]:
    """Which file each partition and each model is: one that was made anew is another."""
    found = [*home.home.warehouse.rglob("*.parquet"), *home.home.models.rglob("*.safetensors")]
    for path in found:
        state = path.stat()
        yield str(path.relative_to(home.root)), state.st_ino, state.st_mtime_ns


def _one_by_one(workshop: Workshop) -> Damage:
    stage = workshop.stages["build"]
    home = stage.before.copy(workshop.place("one-by-one"))
    damage = Damage()
    for shard in (SHARDS[-1], *SHARDS[:-1]):
        damage.add(failure(home.run("build", "--shards", shard), f"build of {shard}"))
    damage.add(damage_of(home, stage.after))
    return damage
