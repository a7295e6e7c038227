"""Commands that cross each other, and readers throughout.

While they run, every reader gets a right answer; right after them each partition has the rows that
its fingerprint stands for; after a last plain build the home is the undisturbed one.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.faults.comparison import (
    Damage,
    damage_of,
    damage_of_leftovers,
    damage_of_rows,
    partitions_of,
)
from tests.faults.fingerprints import damage_of_fingerprints
from tests.faults.home import FaultyHome, finish, generated_texts
from tests.faults.injection import recording
from tests.faults.readers import OURS, PLAIN, ReaderReport, reading
from tests.faults.tries import Outcome, Try, failure, repeat, told_plainly, try_all
from tests.faults.undisturbed import HarnessError, Workshop

Told = Callable[[str, ReaderReport], None]

_THRESHOLD = ("--set", "tools.Calculator.filtering_threshold=0.05")
_OTHER_THRESHOLD = ("--set", "tools.Calculator.filtering_threshold=0.1")
_SEED = ("--set", "sampling.seed=1")
# What only scoring asks about, and what only execution does.
_WINDOW = ("--set", "scoring.window_tokens=4")
_SHORT_RESULTS = ("--set", "execution.max_result_tokens=4")
_DEVICE_LOCK = "device-cpu.lock"
_WAIT_SECONDS = 120.0
_INGESTS = 3


def cross_commands(workshop: Workshop) -> list[Outcome]:
    """Let commands run at once over one home; not in the short form."""
    if workshop.is_short:
        return []
    plain = Outcome("plain DuckDB reader during builds")
    told = partial(_note, plain)
    crossings = {
        "ingests at once, one failing": partial(_ingest_at_once, workshop),
        "device held, upstream changed": partial(_change_upstream, workshop),
        "two builds of the same shards": partial(_same_twice, workshop, told),
        "τ_f against τ_f": partial(
            _cross, workshop, "thresholds", _OTHER_THRESHOLD, _THRESHOLD, told
        ),
        "seed against τ_f": partial(_cross, workshop, "seed", _SEED, _THRESHOLD, told),
    }
    return [*try_all([Try(name, "", act) for name, act in crossings.items()]), plain]


def _note(outcome: Outcome, name: str, report: ReaderReport) -> None:
    """What a plain reader met is told, and is no fault of the rows."""
    outcome.tried += 1
    errors = "; ".join(f"{count} times {text}" for text, count in report.errors.most_common(3))
    outcome.notes.append(
        f"{name}: {report.reads} answers, {len(report.disagreements)} with doubled keys, "
        f"{sum(report.errors.values())} errors{': ' + errors if errors else ''}"
    )
    outcome.damage.doubled += len(report.disagreements)


def _reference(workshop: Workshop, name: str, start: FaultyHome, *changes: str) -> FaultyHome:
    """A home where a build with these changes ran alone."""
    home = start.copy(workshop.place(f"reference-{name}"))
    done = home.run("build", *changes)
    if done.code:
        raise HarnessError(f"the reference {name} cannot be built: {done.last_words}")
    return home


def _same_twice(workshop: Workshop, told: Told) -> Damage:
    stage = workshop.stages["build"]
    home = stage.before.copy(workshop.place("same-twice"))
    damage = _run_together(home, (), (), told, "same shards")
    damage.add(damage_of(home, stage.after))
    return damage


def _cross(
    workshop: Workshop, name: str, first: Sequence[str], second: Sequence[str], told: Told
) -> Damage:
    """Two builds with different settings over one home that is built with neither."""
    begun = workshop.stages["build"].before
    plain = _reference(workshop, f"{name}-plain", begun)
    references = [plain] + [
        _reference(workshop, f"{name}-{which}", plain, *changes)
        for which, changes in (("first", first), ("second", second), ("both", (*first, *second)))
    ]
    home = plain.copy(workshop.place(name))
    damage = _run_together(home, first, second, told, name)
    # The seed of the run that scores chooses swapped results, whatever seed sampled the calls.
    has_seeds = set(_SEED) <= {*first, *second}
    unknown = ("scored_calls", "filtered_calls", "augmented_texts") if has_seeds else ()
    damage.add(damage_of_fingerprints(home, references, may_be_unknown=unknown))
    damage.add(damage_of_leftovers(home))
    damage.add(failure(home.run("build"), "a plain build after them"))
    damage.add(damage_of_rows(partitions_of(home), partitions_of(plain)))
    return damage


def _run_together(
    home: FaultyHome, first: Sequence[str], second: Sequence[str], told: Told, name: str
) -> Damage:
    damage = Damage()
    with reading(home) as reports:
        for process in [home.start("build", *changes) for changes in (first, second)]:
            damage.add(failure(finish(process), "one of two builds"))
    damage.add(reports[OURS].damage(), "our reader")
    told(name, reports[PLAIN])
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
        scoring = _started(home, "scoring", _WINDOW)
        damage.add(_awaited(home, "scoring", f"locks/{_DEVICE_LOCK}"))
        executing = _started(home, "executing", _SHORT_RESULTS)
        damage.add(_awaited(home, "executing", f"locks/{_DEVICE_LOCK}"))
        os.killpg(executing.pid, signal.SIGKILL)
        finish(executing)
    damage.add(failure(finish(scoring), "scoring"))
    damage.add(damage_of_fingerprints(home, references))
    damage.add(repeat(home, stage))
    return damage


def _log(home: FaultyHome, name: str) -> Path:
    return home.root.with_name(f"{home.root.name}.{name}.events")


def _started(home: FaultyHome, name: str, changes: Sequence[str]) -> subprocess.Popen:
    return home.start("build", *changes, extra=recording(home.root, _log(home, name)))


def _awaited(home: FaultyHome, name: str, path: str) -> Damage:
    """Wait until a command has touched a file."""
    began = time.monotonic()
    log = _log(home, name)
    while time.monotonic() - began < _WAIT_SECONDS:
        if log.exists() and json.dumps(path) in log.read_text():
            return Damage()
        time.sleep(0.1)
    return Damage(remarks=[f"{name} did not come to {path} in {_WAIT_SECONDS:.0f} s"])


def _ingest_at_once(workshop: Workshop) -> Damage:
    from dagster_project.settings.source_file import added_sources
    from toolformer.sources.manifest import Manifest

    home = workshop.stages["ingest"].before.copy(workshop.place("ingests"))
    files = []
    for number in range(_INGESTS):
        file = workshop.folder / f"more-{number}.jsonl"
        records = generated_texts(workshop.seed + 10 + number, 4 + number)
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
        files.append(file)
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
