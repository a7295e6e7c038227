"""Defines the sensors that can be switched on in the UI: the inbox, and builds of new shards.

Each file or folder directly in the inbox is an entry and becomes a source of its own. The corpus is
cut source by source, so a new entry never changes the shards of earlier ones.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_project.jobs import JOBS
from dagster_project.run_tags import SENSOR_NAME_TAG
from toolformer.base.digests import digest
from toolformer.home.expected_errors import EXPECTED_ERRORS, explained
from toolformer.home.home import Home
from toolformer.home.resources.settings import SettingsResource
from toolformer.settings.settings_file import listed_sources
from toolformer.sources.errors import SourceError
from toolformer.sources.files import list_files
from toolformer.sources.source import Source, check_path

# A file that grew between two scans of the inbox is still being written.
_SECONDS_BETWEEN_SCANS = 30
# The first run counts too. The count of a changed entry starts again at 0.
_MAX_RUNS_PER_ENTRY = 3
# Latest runs of the sensor that are searched for failures.
_MAX_RECENT_RUNS = 100


@dg.sensor(
    job=JOBS["prepare"],
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=_SECONDS_BETWEEN_SCANS,
    description="Files and folders of texts in $TOOLFORMER_HOME/inbox become sources of the "
    "corpus: they are listed in sources.json and cut into shards. An entry is ingested when two "
    "scans, half a minute apart, find it unchanged. If its run fails, the entry is retried on its "
    f"own, up to {_MAX_RUNS_PER_ENTRY} runs in total. After that, or if the entry has no usable "
    "text, it is only retried when it changes. To annotate the new texts too, switch on "
    "annotate_new_shards.",
)
def inbox(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    home = Home.find()
    try:
        SettingsResource().load()
    except EXPECTED_ERRORS as error:
        # Every run would fail and use up the retries of its entry.
        return dg.SkipReason(explained(error))
    folder = home.inbox
    folder.mkdir(parents=True, exist_ok=True)
    # Both are by entry: `seen` has the state at the last scan; `requested` has the state for which
    # runs were requested, and the number of these runs.
    seen, requested = json.loads(context.cursor or "[{}, {}]")
    now = entries_of(folder)
    stable = [name for name, state in now.items() if seen.get(name) == state]
    changed = [name for name in stable if now[name] != requested.get(name, [None])[0]]
    refused = {name: why for name in changed if (why := _why_refused(str(folder / name)))}
    for why in refused.values():
        context.log.warning(why)
    new = [name for name in changed if name not in refused]
    # Another project in the same Dagster instance may have a sensor `inbox` too.
    of_inbox = dg.RunsFilter(job_name=JOBS["prepare"].name, tags={SENSOR_NAME_TAG: "inbox"})
    runs = context.instance.get_runs(of_inbox, limit=_MAX_RECENT_RUNS)
    retried = [
        name
        for name in stable
        if name not in changed
        and 0 < requested[name][1] < _MAX_RUNS_PER_ENTRY
        and _has_failed(str(folder / name), runs, home)
    ]
    # Forget entries that were removed from the inbox.
    requested = {name: before for name, before in requested.items() if name in now}
    requested |= {name: [now[name], 0] for name in refused}
    requested |= {name: [now[name], 1] for name in new}
    requested |= {name: [now[name], requested[name][1] + 1] for name in retried}
    context.update_cursor(json.dumps([now, requested]))
    # Each retried entry has its own run, so that it cannot make the run of the others fail.
    batches = [*([new] if new else []), *([name] for name in retried)]
    if not batches:
        waiting = sum(requested.get(name, [None])[0] != state for name, state in now.items())
        return dg.SkipReason(
            " ".join(refused.values())
            or f"Nothing new in {folder}."
            + (f" Scanned again in {_SECONDS_BETWEEN_SCANS} s: {waiting}." if waiting else "")
        )
    return dg.SensorResult(
        run_requests=[_ingestion([str(folder / name) for name in names]) for names in batches]
    )


def _ingestion(paths: list[str]) -> dg.RunRequest:
    # Only the manifest is materialized: new texts do not change a search index.
    return dg.RunRequest(
        asset_selection=[dg.AssetKey("corpus_manifest")],
        run_config={"ops": {"corpus_manifest": {"config": {"new_sources": paths}}}},
    )


def _has_failed(path: str, runs: Sequence[dg.DagsterRun], home: Home) -> bool:
    """Return whether the entry's last run failed or, without a recorded run, is not a source."""
    for run in runs:
        config: Mapping[str, Any] = run.run_config
        if path in config["ops"]["corpus_manifest"]["config"]["new_sources"]:
            return run.status is dg.DagsterRunStatus.FAILURE
    return path not in listed_sources(home.settings_file)


def _why_refused(path: str) -> str | None:
    """Return why an entry cannot be a source, or None if its file names are acceptable."""
    try:
        check_path(path)
        list_files(Source(path, shard_size=1))
    except SourceError as error:
        return str(error)
    return None


def entries_of(inbox: Path) -> dict[str, str]:
    """Return the state of each entry by name: a digest that every write to its files changes.

    Hidden files do not count, as in a source. An entry with a vanished file is skipped.
    """
    entries = {}
    for path in sorted(inbox.iterdir()):
        if not path.name.startswith("."):
            try:
                entries[path.name] = _state(path)
            except FileNotFoundError:
                continue
    return entries


def _state(entry: Path) -> str:
    states = []
    for path in sorted(entry.rglob("*")) if entry.is_dir() else [entry]:
        within = path.relative_to(entry)
        if path.is_file() and not any(part.startswith(".") for part in within.parts):
            status = path.stat()
            state = [str(within), status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            states.append(json.dumps(state))
    return digest(*states, separator="").hex()


_BUILD_DESCRIPTION = (
    "Runs the stages of new shards, and of shards whose texts, calls, search index, code or "
    "settings changed, up to `runs.shards_per_run` shards per run. A change of toolformer.yaml "
    "takes effect when the code location is reloaded. Every shard that is not held out is built in "
    "round `sampling.round`, even beyond `sampling.shards`. Then call_statistics and report are "
    "updated."
)


def sensors(problem: str = "") -> list[dg.SensorDefinition]:
    """Return all sensors. With a problem in the settings, `annotate_new_shards` requests no run."""
    annotate_new_shards = dg.AutomationConditionSensorDefinition(
        "annotate_new_shards",
        target=dg.AssetSelection.groups("build_dataset")
        | dg.AssetSelection.assets("call_statistics", "report"),
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Requests no runs now. {problem} Then reload the code location."
        if problem
        else _BUILD_DESCRIPTION,
    )
    return [inbox, annotate_new_shards]
