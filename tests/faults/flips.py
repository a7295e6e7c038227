"""Single flipped bits: noticed with an error of ours, or without consequence.

Each kind of file is flipped a few times in a copy of the home, and commands that must read it are
run again. Flipped partitions are tested in `tests/warehouse/test_damage.py`.
"""

import json
import random
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.faults.comparison import Damage, damage_of_leftovers, damage_of_rows, partitions_of
from tests.faults.fingerprints import damage_of_fingerprints
from tests.faults.home import FaultyHome
from tests.faults.injection import drawn
from tests.faults.kills import killed
from tests.faults.tries import Outcome, Try, try_all
from tests.faults.undisturbed import Workshop
from warehouse.schema import tables

_FULL_CHECK = ("doctor", "--full", "--json")
_QUICK_CHECK = ("doctor", "--json")
_BUILD_AGAIN = (("build", "--force"),)
_EVALUATE_AGAIN = (("evaluate", "--force"),)
# The files of a kind, the commands that read them, run one after the other with one file flipped,
# and how many flips; None for one in each file.
_KINDS: dict[str, tuple[str, Sequence[Sequence[str]], int | None]] = {
    "manifest": ("sources/manifest.json", _BUILD_AGAIN, 3),
    "list of sources": ("sources.json", (("build",), ("sources", "list")), 3),
    "settings": ("toolformer.yaml", (("build",),), 3),
    "base model": ("own/model/*.safetensors", _BUILD_AGAIN, 2),
    "finetuned model": ("models/*/*.safetensors", _EVALUATE_AGAIN, 2),
    "finetuned model's files": ("models/*/*.json", _EVALUATE_AGAIN, None),
    "tool cache": ("cache/tool_results/*", _BUILD_AGAIN, 3),
    "database for people": ("warehouse.duckdb", (("build",), ("stats",)), 2),
    "stamp of that database": ("warehouse.duckdb.views", (("stats",), ("build",)), 2),
    "Dagster's storage": ("dagster/**/*.db", (("build",),), 3),
}
# Other settings and other weights may lead to other rows with other fingerprints, which name them.
_MAY_CHANGE = ("settings", "base model")


def flip_bits(workshop: Workshop) -> list[Outcome]:
    """Flip, read, compare; not in the short form."""
    if workshop.is_short:
        return []
    tries = [
        Try(f"flip: {kind}", str(number), partial(_flip_file, workshop, kind, number))
        for kind, (pattern, _, count) in _KINDS.items()
        for number in range(count or len(_files(workshop.finished, pattern)))
    ]
    tries += [
        Try("flip: checkpoints", str(number), partial(_flip_checkpoints, workshop, number))
        for number in range(3)
    ]
    return try_all(tries)


def _files(home: FaultyHome, pattern: str) -> list[Path]:
    return sorted(path for path in home.root.glob(pattern) if path.is_file())


def _flip(file: Path, chance: random.Random) -> str:
    """Flip one bit of a file; where."""
    content = bytearray(file.read_bytes())
    place, bit = chance.randrange(len(content)), chance.randrange(8)
    content[place] ^= 1 << bit
    file.write_bytes(content)
    return f"bit {bit} of byte {place}"


def _flip_file(workshop: Workshop, kind: str, number: int) -> Damage:
    name = f"flip-{kind}-{number}".replace(" ", "-").replace("'", "")
    pattern, commands, count = _KINDS[kind]
    chance = workshop.chance(name)
    home = _with_own_model(workshop, workshop.place(name))
    files = _files(home, pattern)
    file = files[number] if count is None else chance.choice(files)
    place = f"{file.relative_to(home.root)}, {_flip(file, chance)}"
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
    home, damage = killed(workshop, f"flip-checkpoints-{number}", stage, event)
    files = sorted(home.home.checkpoints.rglob("*.json"))
    if not files:
        damage.remarks.append("the killed build left no checkpoint")
    for file in files:
        _flip(file, chance)
    done = home.run(*stage.arguments)
    if done.has_traceback:
        damage.remarks.append(f"killed at {event}, {len(files)} flips: {done.last_words}")
    if not done.code:
        other = damage_of_rows(partitions_of(home), partitions_of(stage.after))
        damage.add(other, f"killed at {event}, {len(files)} flips")
        damage.add(damage_of_leftovers(home))
    return damage
