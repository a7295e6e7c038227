"""Commands that cross each other, and readers throughout.

While they run, every reader gets a right answer; right after them each partition has the rows that
its fingerprint stands for; after a last plain build the home is the undisturbed one.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
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
from tests.faults.injection import Event, recorded, recording
from tests.faults.readers import OURS, PLAIN, ReaderReport, reading
from tests.faults.report import Outcome
from tests.faults.tries import Try, failure, last_words, repeat, told_plainly, try_all
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
_AT_ONCE = "ingests at once, one failing"


def cross_commands(workshop: Workshop) -> list[Outcome]:
    """Let commands run at once over one home."""
    if workshop.is_short:
        return [Outcome(_AT_ONCE, not_run="`make test` has ingests at once")]
    plain = Outcome("plain DuckDB reader during builds")
    told = partial(_note, plain)
    tries = [
        Try(_AT_ONCE, "", partial(_ingest_at_once, workshop)),
        Try("device held, upstream changed", "", partial(_change_upstream, workshop)),
        Try("two builds of the same shards", "", partial(_same_twice, workshop, told)),
        Try(
            "τ_f against τ_f",
            "",
            partial(_cross, workshop, "thresholds", _OTHER_THRESHOLD, _THRESHOLD, told),
        ),
        Try(
            "seed against τ_f",
            "",
            partial(_cross, workshop, "seed", _SEED, _THRESHOLD, told),
        ),
    ]
    return [*try_all(tries), plain]


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
        raise HarnessError(f"the reference {name} cannot be built: {last_words(done)}")
    return home


def _same_twice(workshop: Workshop, told: Told) -> Damage:
    stage = workshop.stages["build"]
    home = stage.before.copy(workshop.place("same-twice"))
    damage = _run_together(home, {"first": ("build",), "second": ("build",)}, told, "same shards")
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
    commands = {
        "first": ("build", *first),
        "second": ("build", *second),
    }
    damage = _run_together(home, commands, told, name)
    # The seed of the run that scores chooses swapped results, whatever seed sampled the calls.
    has_seeds = set(_SEED) <= {*first, *second}
    unknown = ("scored_calls", "filtered_calls", "augmented_texts") if has_seeds else ()
    damage.add(damage_of_fingerprints(home, references, may_be_unknown=unknown))
    damage.add(damage_of_leftovers(home))
    damage.add(failure(home.run("build"), "a plain build after them"))
    damage.add(damage_of_rows(partitions_of(home), partitions_of(plain)))
    return damage


def _run_together(
    home: FaultyHome, commands: Mapping[str, Sequence[str]], told: Told, name: str
) -> Damage:
    damage = Damage()
    with reading(home) as reports:
        processes = {which: home.start(*command) for which, command in commands.items()}
        for which, process in processes.items():
            damage.add(failure(finish(process), which))
    damage.add(reports[OURS].damage(OURS))
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
        if log.exists() and any(event.path == path for event in _events(log)):
            return Damage()
        time.sleep(0.1)
    return Damage(remarks=[f"{name} did not come to {path} in {_WAIT_SECONDS:.0f} s"])


def _events(log: Path) -> list[Event]:
    try:
        return recorded(log)
    except json.JSONDecodeError:
        # It is being written.
        return []


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
    listed = [source.path for source in added_sources(home.home.settings_file)]
    if sorted(listed) != sorted(map(str, files)):
        damage.lost += len(set(map(str, files)) - set(listed))
        damage.remarks.append(f"the settings list {[Path(path).name for path in listed]}")
    shards = Manifest.load(home.home.sources).active_shards
    for number, file in enumerate(files):
        records = sum(entry.records for entry in shards if entry.source == str(file))
        if records != 4 + number:
            damage.lost += max(4 + number - records, 0)
            damage.doubled += max(records - 4 - number, 0)
            damage.remarks.append(f"{file.name}: {records} of {4 + number} records in shards")
    if len({entry.key for entry in shards}) != len(shards):
        damage.remarks.append("two shards have one key")
    damage.add(damage_of_leftovers(home))
    return damage
