"""What runs by itself once it is switched on in the UI: the inbox, and the stages of new shards.

An entry of the inbox is a file or a folder right below it, and becomes a source of its own: a
corpus is cut source by source, so what comes later changes no shard of what was there before.
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

# Of the inbox: a file that grew in this time is still being written.
_SECONDS_BETWEEN_LOOKS = 30
# Of an entry in one state, the first included.
_RUNS_OF_AN_ENTRY = 3
# Of the sensor, that are looked at for what failed.
_RUNS = 100


@dg.sensor(
    job=JOBS["prepare"],
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=_SECONDS_BETWEEN_LOOKS,
    description="Files and folders of texts in $TOOLFORMER_HOME/inbox become sources of the "
    "corpus: listed in sources.json and cut into shards. An entry is taken once it is the same "
    "in two looks, half a minute apart. Where its run fails, it is tried again by itself, "
    f"{_RUNS_OF_AN_ENTRY} runs in all; after these, or where it holds nothing that can be used, "
    "it is tried again when it changes. Switch on annotate_new_shards too, and its texts are "
    "annotated.",
)
def inbox(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Cut what came into the inbox."""
    home = Home.find()
    try:
        SettingsResource().load()
    except EXPECTED_ERRORS as error:
        # Each run would fail, and use up the tries of its entry.
        return dg.SkipReason(explained(error))
    folder = home.inbox
    folder.mkdir(parents=True, exist_ok=True)
    # By name of the entry: the states at the last look; those in which entries were asked for, and
    # how often.
    seen, asked = json.loads(context.cursor or "[{}, {}]")
    now = entries_of(folder)
    stable = [name for name, state in now.items() if seen.get(name) == state]
    changed = [name for name in stable if now[name] != asked.get(name, [None])[0]]
    refused = {name: why for name in changed if (why := _why_refused(str(folder / name)))}
    for why in refused.values():
        context.log.warning(why)
    new = [name for name in changed if name not in refused]
    # Another project in the instance may have an `inbox` too.
    of_inbox = dg.RunsFilter(job_name=JOBS["prepare"].name, tags={SENSOR_NAME_TAG: "inbox"})
    runs = context.instance.get_runs(of_inbox, limit=_RUNS)
    again = [
        name
        for name in stable
        if name not in changed
        and 0 < asked[name][1] < _RUNS_OF_AN_ENTRY
        and _is_lost(str(folder / name), runs, home)
    ]
    # An entry that is gone is forgotten.
    asked = {name: before for name, before in asked.items() if name in now}
    asked |= {name: [now[name], 0] for name in refused}
    asked |= {name: [now[name], 1] for name in new}
    asked |= {name: [now[name], asked[name][1] + 1] for name in again}
    context.update_cursor(json.dumps([now, asked]))
    # What fails alone keeps nothing else from being cut.
    together = [*([new] if new else []), *([name] for name in again)]
    if not together:
        waiting = sum(asked.get(name, [None])[0] != state for name, state in now.items())
        return dg.SkipReason(
            " ".join(refused.values())
            or f"Nothing new in {folder}."
            + (f" Looked at again in {_SECONDS_BETWEEN_LOOKS} s: {waiting}." if waiting else "")
        )
    return dg.SensorResult(
        run_requests=[_cutting([str(folder / name) for name in names]) for names in together]
    )


def _cutting(paths: list[str]) -> dg.RunRequest:
    """Of the corpus alone: a new text changes no search index."""
    return dg.RunRequest(
        asset_selection=[dg.AssetKey("corpus_manifest")],
        run_config={"ops": {"corpus_manifest": {"config": {"new_sources": paths}}}},
    )


def _is_lost(path: str, runs: Sequence[dg.DagsterRun], home: Home) -> bool:
    """Whether the last run for an entry failed; where none is recorded, whether it is unlisted."""
    for run in runs:
        config: Mapping[str, Any] = run.run_config
        if path in config["ops"]["corpus_manifest"]["config"]["new_sources"]:
            return run.status is dg.DagsterRunStatus.FAILURE
    return path not in listed_sources(home.settings_file)


def _why_refused(path: str) -> str | None:
    """Why an entry can be no source; None where it can, as far as its names tell."""
    try:
        check_path(path)
        list_files(Source(path, shard_size=1))
    except SourceError as error:
        return str(error)
    return None


def entries_of(inbox: Path) -> dict[str, str]:
    """By name the state of each entry: a digest that a write to any of its files changes.

    Hidden files are left out, as in a source. So is an entry that changes during the look.
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


_OF_BUILDS = (
    "Runs the stages of new shards, and of those whose texts, calls, search index, "
    "code or settings changed, up to `runs.shards_per_run` shards in a run. A change of "
    "toolformer.yaml is seen when the code location is loaded again. It runs every shard "
    "that is not held out, also those beyond `sampling.shards`, in the round of `sampling.round`. "
    "call_statistics and report follow."
)


def sensors(problem: str = "") -> list[dg.SensorDefinition]:
    """All sensors; a problem of the settings keeps `annotate_new_shards` from running anything."""
    annotate_new_shards = dg.AutomationConditionSensorDefinition(
        "annotate_new_shards",
        target=dg.AssetSelection.groups("build_dataset")
        | dg.AssetSelection.assets("call_statistics", "report"),
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Runs nothing now. {problem} Then load the code location again."
        if problem
        else _OF_BUILDS,
    )
    return [inbox, annotate_new_shards]
