"""Commands that cross each other, and a reader throughout.

While they run, a reader gets right answers; right after them each partition has the rows that
its fingerprint stands for; after a last plain build the home is the undisturbed one.
"""

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from functools import partial

from tests.faults.comparison import (
    Damage,
    damage_of,
    damage_of_leftovers,
    damage_of_rows,
    partitions_of,
)
from tests.faults.fingerprints import damage_of_fingerprints
from tests.faults.home import FaultyHome, finish
from tests.faults.injection import recording
from tests.faults.readers import reading
from tests.faults.tries import Outcome, Try, failure, repeat, told_plainly, try_all
from tests.faults.undisturbed import HarnessError, Workshop
from tests.homes import generated_texts, write_lines
from tests.processes import ServiceError, await_until

_THRESHOLD = ("--set", "tools.Calculator.filtering_threshold=0.05")
_OTHER_THRESHOLD = ("--set", "tools.Calculator.filtering_threshold=0.1")
_SEED = ("--set", "sampling.seed=1")
# What only scoring asks about, and what only execution does.
_WINDOW = ("--set", "scoring.window_tokens=4")
_SHORT_RESULTS = ("--set", "execution.max_result_tokens=4")
_DEVICE_LOCK = "locks/device-cpu.lock"
_WAIT_SECONDS = 120.0
_INGESTS = 3


def cross_commands(workshop: Workshop) -> list[Outcome]:
    """Let commands run at once over one home; not in the short form."""
    if workshop.is_short:
        return []
    crossings = {
        "ingests at once, one failing": partial(_ingest_at_once, workshop),
        "device held, upstream changed": partial(_change_upstream, workshop),
        "two builds of the same shards": partial(_same_twice, workshop),
        "τ_f against τ_f": partial(_cross, workshop, _OTHER_THRESHOLD, _THRESHOLD),
        "seed against τ_f": partial(_cross, workshop, _SEED, _THRESHOLD),
    }
    return try_all([Try(name, "", act) for name, act in crossings.items()])


def _reference(workshop: Workshop, name: str, start: FaultyHome, *changes: str) -> FaultyHome:
    """A home where a build with these changes ran alone."""
    home = start.copy(workshop.place(f"reference-{name}"))
    done = home.run("build", *changes)
    if done.code:
        raise HarnessError(f"the reference {name} cannot be built: {done.last_words}")
    return home


def _same_twice(workshop: Workshop) -> Damage:
    stage = workshop.stages["build"]
    home = stage.before.copy(workshop.place("same-twice"))
    damage = _run_together(home, (), ())
    damage.add(damage_of(home, stage.after))
    return damage


def _cross(workshop: Workshop, first: Sequence[str], second: Sequence[str]) -> Damage:
    """Two builds with different settings over one home that is built with neither."""
    begun, has_seeds = workshop.stages["build"].before, first == _SEED
    name = "seeds" if has_seeds else "thresholds"
    built = _reference(workshop, f"{name}-plain", begun)
    references = [built] + [
        _reference(workshop, f"{name}-{which}", built, *changes)
        for which, changes in (("first", first), ("second", second), ("both", (*first, *second)))
    ]
    home = built.copy(workshop.place(name))
    damage = _run_together(home, first, second)
    # The seed of the run that scores chooses swapped results, whatever seed sampled the calls.
    unknown = ("scored_calls", "filtered_calls", "augmented_texts") if has_seeds else ()
    damage.add(damage_of_fingerprints(home, references, may_be_unknown=unknown))
    damage.add(damage_of_leftovers(home))
    damage.add(failure(home.run("build"), "a plain build after them"))
    damage.add(damage_of_rows(partitions_of(home), partitions_of(built)))
    return damage


def _run_together(home: FaultyHome, first: Sequence[str], second: Sequence[str]) -> Damage:
    damage = Damage()
    with reading(home) as met:
        for process in [home.start("build", *changes) for changes in (first, second)]:
            damage.add(failure(finish(process), "one of two builds"))
    damage.add(met, "the reader")
    return damage


def _change_upstream(workshop: Workshop) -> Damage:
    """B waits for the device in scoring; C executes anew what B is about to score, and is killed.

    Killed, so that it cannot put right what B stores.
    """
    stage = workshop.stages["build"]
    references = [stage.after] + [
        _reference(workshop, name, stage.after, *changes)
        for name, changes in (
            ("window", _WINDOW),
            ("results", _SHORT_RESULTS),
            ("window-results", (*_WINDOW, *_SHORT_RESULTS)),
        )
    ]
    home = stage.after.copy(workshop.place("device-held"))
    damage = Damage()
    with home.home.device_lock("cpu"):
        scoring, waited = _awaiting_device(home, "scoring", _WINDOW)
        damage.add(waited)
        executing, waited = _awaiting_device(home, "executing", _SHORT_RESULTS)
        damage.add(waited)
        os.killpg(executing.pid, signal.SIGKILL)
        finish(executing)
    damage.add(failure(finish(scoring), "scoring"))
    damage.add(damage_of_fingerprints(home, references))
    damage.add(repeat(home, stage))
    return damage


def _awaiting_device(
    home: FaultyHome, name: str, changes: Sequence[str]
) -> tuple[subprocess.Popen, Damage]:
    """Start a build, and wait until it has touched the lock of the device."""
    log = home.root.with_name(f"{home.root.name}.{name}.events")
    process = home.start("build", *changes, extra=recording(home.root, log))
    touched = json.dumps(_DEVICE_LOCK)
    try:
        await_until(lambda: log.exists() and touched in log.read_text(), name, _WAIT_SECONDS)
    except ServiceError as error:
        return process, Damage(remarks=[str(error)])
    return process, Damage()


def _ingest_at_once(workshop: Workshop) -> Damage:
    from toolformer.settings.source_file import added_sources
    from toolformer.sources.manifest import Manifest

    home = workshop.stages["ingest"].before.copy(workshop.place("ingests"))
    files = []
    for number in range(_INGESTS):
        records = generated_texts(workshop.seed + 10 + number, 4 + number)
        files.append(write_lines(workshop.folder / f"more-{number}.jsonl", records))
    missing = workshop.folder / "missing.jsonl"
    started = {
        file: home.start("ingest", str(file), "--shard-size", "2") for file in [*files, missing]
    }
    damage = Damage()
    for file, process in started.items():
        done = finish(process)
        damage.add(told_plainly(done) if file == missing else failure(done, file.name))
    again = home.run("ingest", *map(str, files), "--shard-size", "2")
    damage.add(failure(again, "an ingest after them"))
    listed = sorted(source.path for source in added_sources(home.home.settings_file))
    if listed != sorted(map(str, files)):
        damage.add(Damage(wrong=1, remarks=[f"the settings list {listed}"]))
    shards = Manifest.load(home.home.sources).active_shards
    for number, file in enumerate(files):
        records = sum(entry.records for entry in shards if entry.source == str(file))
        if records != 4 + number:
            told = [f"{file.name}: {records} of {4 + number} records in shards"]
            damage.add(Damage(wrong=1, remarks=told))
    if len({entry.key for entry in shards}) != len(shards):
        damage.remarks.append("two shards have one key")
    damage.add(damage_of_leftovers(home))
    return damage
