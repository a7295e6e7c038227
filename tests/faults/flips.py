"""Single flipped bits: noticed with an error of ours, or without consequence.

Partitions are read in this process, hundreds of flips in seconds. Of the other files each kind is
flipped a few times in a copy of the home, and commands that must read it are run again.
"""

import json
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.comparison import Damage, damage_of_leftovers, damage_of_rows, partitions_of
from tests.faults.fingerprints import damage_of_fingerprints
from tests.faults.home import FaultyHome
from tests.faults.injection import drawn
from tests.faults.kills import killed
from tests.faults.tries import Outcome, Try, try_all
from tests.faults.undisturbed import Workshop
from warehouse.schema import tables

if TYPE_CHECKING:
    import polars as pl

    from warehouse.layout import PartitionInfo
    from warehouse.warehouse import Warehouse

_FLIPS_OF_PARTITIONS = 400
_FEW_FLIPS_OF_PARTITIONS = 60
_FULL_CHECK = ("doctor", "--full", "--json")
_QUICK_CHECK = ("doctor", "--json")


_BUILD_AGAIN = (("build", "--force"),)
_EVALUATE_AGAIN = (("evaluate", "--force"),)
# The files of a kind, the commands that read them, run one after the other with one file flipped,
# and how many flips.
_KINDS: dict[str, tuple[str, Sequence[Sequence[str]], int]] = {
    "manifest": ("sources/manifest.json", _BUILD_AGAIN, 3),
    "settings": ("toolformer.yaml", (("build",),), 3),
    "base model": ("own/model/*.safetensors", _BUILD_AGAIN, 2),
    "finetuned model": ("models/*/*.safetensors", _EVALUATE_AGAIN, 2),
    "finetuned model's files": ("models/*/*.json", _EVALUATE_AGAIN, 3),
    "tool cache": ("cache/tool_results/*", _BUILD_AGAIN, 3),
    "database for people": ("warehouse.duckdb*", (("build",), ("stats",)), 2),
    "Dagster's storage": ("dagster/**/*.db", (("build",),), 3),
}
# Other settings and other weights may lead to other rows with other fingerprints, which name them.
_MAY_CHANGE = ("settings", "base model")


def flip_bits(workshop: Workshop) -> list[Outcome]:
    """Flip, read, compare."""
    outcomes = [_flip_partitions(workshop)]
    if not workshop.is_short:
        tries = [
            Try(f"flip: {kind}", str(number), partial(_flip_file, workshop, kind, number))
            for kind, (_, _, count) in _KINDS.items()
            for number in range(count)
        ]
        tries += [
            Try("flip: checkpoints", str(number), partial(_flip_checkpoints, workshop, number))
            for number in range(3)
        ]
        outcomes += try_all(tries)
    return outcomes


def flip(file: Path, chance: random.Random) -> str:
    """Flip one bit of a file; where."""
    content = bytearray(file.read_bytes())
    place, bit = chance.randrange(len(content)), chance.randrange(8)
    content[place] ^= 1 << bit
    file.write_bytes(content)
    return f"bit {bit} of byte {place}"


def _flip_partitions(workshop: Workshop) -> Outcome:
    """Through both ways that rows are read: one partition, and a query."""
    outcome = Outcome("flip: partitions")
    chance = workshop.chance("flip partitions")
    warehouse = workshop.finished.copy(workshop.place("flips")).warehouse
    listed = [partitions for table in tables() if (partitions := warehouse.partitions(table))]
    noticed = 0
    for number in range(_FEW_FLIPS_OF_PARTITIONS if workshop.is_short else _FLIPS_OF_PARTITIONS):
        # Tables in turn, and of each any partition: some have a partition or two, others dozens.
        info = chance.choice(listed[number % len(listed)])
        before = rows_read(warehouse, info)
        original = info.path.read_bytes()
        place = flip(info.path, chance)
        damage, was_noticed = damage_of_reading(warehouse, info, before)
        noticed += was_noticed
        outcome.tried += 1
        outcome.damage.add(damage, f"{info.path.relative_to(warehouse.folder)}, {place}")
        info.path.write_bytes(original)
    outcome.notes.append(f"{noticed} of {outcome.tried} were noticed")
    return outcome


def rows_read(
    warehouse: "Warehouse", info: "PartitionInfo"
) -> dict[str, "pl.DataFrame | BaseException"]:
    """What each way of reading gives, or raises, whatever that is: native code panics too."""
    readings: dict[str, Callable[[], pl.DataFrame]] = {
        "read": lambda: warehouse.read_partition(info.table, info.shard, info.name),
        "query": lambda: warehouse.query(f"select * from {info.table} order by all"),
    }
    found: dict[str, pl.DataFrame | BaseException] = {}
    for name, read in readings.items():
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(read)
        found[name] = future.exception() or future.result()
    return found


def damage_of_reading(
    warehouse: "Warehouse", info: "PartitionInfo", before: Mapping[str, object]
) -> tuple[Damage, bool]:
    """Read a flipped partition; the damage, and whether an error noticed the flip."""
    import polars as pl

    from warehouse.errors import WarehouseError

    damage = Damage()
    was_noticed = False
    for name, rows in rows_read(warehouse, info).items():
        if not isinstance(rows, pl.DataFrame):
            was_noticed = True
            if not isinstance(rows, WarehouseError):
                damage.remarks.append(f"{name}: {type(rows).__name__} instead of an error of ours")
        elif not rows.equals(before[name], null_equal=True):
            damage.wrong += 1
            damage.remarks.append(f"{name} gives other rows silently")
    return damage, was_noticed


def _flip_file(workshop: Workshop, kind: str, number: int) -> Damage:
    name = f"flip-{kind}-{number}".replace(" ", "-").replace("'", "")
    pattern, commands, _ = _KINDS[kind]
    chance = workshop.chance(name)
    home = _with_own_model(workshop, workshop.place(name))
    file = chance.choice(sorted(path for path in home.root.glob(pattern) if path.is_file()))
    place = f"{file.relative_to(home.root)}, {flip(file, chance)}"
    # The check first: commands may repair on their way.
    is_named = _is_noticed(home, file)
    damage = Damage()
    for command in commands:
        done = home.run(*command)
        if done.has_traceback:
            damage.remarks.append(f"{place}: {' '.join(command)}: {done.last_words}")
        if done.code:
            return damage
    if not is_named:
        unknown = tables() if kind in _MAY_CHANGE else ()
        silent = damage_of_fingerprints(home, [workshop.finished], may_be_unknown=unknown)
        damage.add(silent, place)
    return damage


def _with_own_model(workshop: Workshop, root: Path) -> FaultyHome:
    """A copy of the finished home whose base model lies in it, so that it can be flipped."""
    home = workshop.finished.copy(root)
    model = home.root / "own" / "model"
    shutil.copytree(workshop.ingredients.model, model)
    text = home.home.settings_file.read_text()
    home.home.settings_file.write_text(text.replace(str(workshop.ingredients.model), str(model)))
    return home


def _is_noticed(home: FaultyHome, file: Path) -> bool:
    """Whether a full check names the file, or says what is wrong about its kind."""
    done = home.run(*_FULL_CHECK)
    if done.code == 2:
        done = home.run(*_QUICK_CHECK)
    try:
        findings = json.loads(done.output)
    except json.JSONDecodeError:
        return file.name in done.output
    return any(
        finding["status"] != "ok" and file.name in f"{finding['detail']} {finding['remedy']}"
        for finding in findings
    )


def _flip_checkpoints(workshop: Workshop, number: int) -> Damage:
    """Flip every kept step of a killed build, one bit each: none may lead to other rows."""
    stage = workshop.stages["build"]
    chance = workshop.chance(f"checkpoint {number}")
    area = ("scored_calls", "candidate_calls", "scored_calls/rescoring")[number % 3]
    events = drawn(stage.events, f"after rename cache/checkpoints/{area}", 1000, chance)
    # Late enough that there is something to flip.
    late = [event for event in events if event.number > len(events) // 3]
    event = chance.choice(late)
    home = stage.before.copy(workshop.place(f"flip-checkpoints-{number}"))
    damage = killed(home, stage, event)
    files = sorted(home.home.checkpoints.rglob("*.json"))
    if not files:
        damage.remarks.append("the killed build left no checkpoint")
    for file in files:
        flip(file, chance)
    done = home.run(*stage.arguments)
    if done.has_traceback:
        damage.remarks.append(f"killed at {event}, {len(files)} flips: {done.last_words}")
    if not done.code:
        other = damage_of_rows(partitions_of(home), partitions_of(stage.after))
        damage.add(other, f"killed at {event}, {len(files)} flips")
        damage.add(damage_of_leftovers(home))
    return damage
