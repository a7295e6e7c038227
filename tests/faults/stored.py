"""What is stored is enough: without Dagster's records, and in whatever order shards were built."""

import shutil
from functools import partial

from tests.faults.comparison import Damage, damage_of
from tests.faults.home import COMMANDS, SHARDS, FaultyHome
from tests.faults.report import Outcome
from tests.faults.tries import Try, failure, try_all
from tests.faults.undisturbed import Workshop


def change_history(workshop: Workshop) -> list[Outcome]:
    """Forget what Dagster knew; build shard by shard."""
    tries = [Try("Dagster's storage removed", "build", partial(_forget, workshop))]
    if not workshop.is_short:
        order = [SHARDS[-1], *SHARDS[:-1]]
        act = partial(_one_by_one, workshop, order)
        tries.append(Try("shards one by one", ", ".join(order), act))
    return try_all(tries)


def _forget(workshop: Workshop) -> Damage:
    home = workshop.finished.copy(workshop.place("forgotten"))
    shutil.rmtree(home.home.dagster)
    before = _files(home)
    damage = Damage()
    for command in COMMANDS[1:2] if workshop.is_short else COMMANDS[1:]:
        damage.add(failure(home.run(command), command))
    made_again = sorted(name for name, state in _files(home).items() if before.get(name) != state)
    if made_again:
        damage.wrong += len(made_again)
        damage.remarks.append(f"made again: {', '.join(made_again[:5])}")
    damage.add(damage_of(home, workshop.finished))
    return damage


def _files(home: FaultyHome) -> dict[str, tuple[int, int]]:
    """Which file each partition and each model is: one that was made anew is another."""
    found = [*home.home.warehouse.rglob("*.parquet"), *home.home.models.rglob("*.safetensors")]
    states = {str(path.relative_to(home.root)): path.stat() for path in found}
    return {name: (state.st_ino, state.st_mtime_ns) for name, state in states.items()}


def _one_by_one(workshop: Workshop, order: list[str]) -> Damage:
    stage = workshop.stages["build"]
    home = stage.before.copy(workshop.place("one-by-one"))
    damage = Damage()
    for shard in order:
        damage.add(failure(home.run("build", "--shards", shard), f"build of {shard}"))
    damage.add(damage_of(home, stage.after))
    return damage
