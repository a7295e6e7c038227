"""What runs by itself once it is switched on in the UI: the inbox, and the stages of new shards.

An entry of the inbox is a file or a folder right below it, and becomes a source of its own: a
corpus is cut source by source, so what comes later changes no shard of what was there before.
"""

import hashlib
import json
from pathlib import Path

import dagster as dg

from dagster_project.home import Home
from dagster_project.jobs import prepare
from toolformer.sources.errors import SourceError
from toolformer.sources.files import list_files
from toolformer.sources.source import Source

# Of the inbox: a file that grew in this time is still being written.
_SECONDS_BETWEEN_LOOKS = 30


@dg.sensor(
    job=prepare,
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=_SECONDS_BETWEEN_LOOKS,
    description="Files and folders of texts in $TOOLFORMER_HOME/inbox become sources of the "
    "corpus: listed in sources.yaml and cut into shards. An entry is taken once it is the same "
    "in two looks, half a minute apart. Switch on annotate_new_shards too, and its texts are "
    "annotated.",
)
def inbox(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Run `prepare` for what came into the inbox."""
    folder = Home.find().inbox
    folder.mkdir(parents=True, exist_ok=True)
    # By name of the entry: the states at the last look, and those in which entries were taken.
    seen, taken = json.loads(context.cursor or "[{}, {}]")
    now = entries_of(folder)
    paths = {
        name: str(folder / name)
        for name, state in now.items()
        if seen.get(name) == state != taken.get(name)
    }
    refused = {name: why for name, path in paths.items() if (why := _why_refused(path))}
    for why in refused.values():
        context.log.warning(why)
    usable = [path for name, path in paths.items() if name not in refused]
    # An entry that is gone is forgotten.
    taken = {name: state for name, state in taken.items() if name in now}
    taken |= {name: now[name] for name in paths}
    context.update_cursor(json.dumps([now, taken]))
    if not usable:
        waiting = sum(taken.get(name) != state for name, state in now.items())
        return dg.SkipReason(
            " ".join(refused.values())
            or f"Nothing new in {folder}."
            + (f" Looked at again in {_SECONDS_BETWEEN_LOOKS} s: {waiting}." if waiting else "")
        )
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_config={"ops": {"corpus_manifest": {"config": {"new_sources": usable}}}}
            )
        ]
    )


def _why_refused(path: str) -> str | None:
    """Why an entry can be no source; None where it can, as far as its names tell."""
    try:
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
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(entry.rglob("*")) if entry.is_dir() else [entry]:
        within = path.relative_to(entry)
        if path.is_file() and not any(part.startswith(".") for part in within.parts):
            status = path.stat()
            digest.update(
                json.dumps([str(within), status.st_size, status.st_mtime_ns]).encode("ascii")
            )
    return digest.hexdigest()


annotate_new_shards = dg.AutomationConditionSensorDefinition(
    "annotate_new_shards",
    target=dg.AssetSelection.groups("build_dataset"),
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Runs the stages of new shards, and of those whose texts, calls, search index, "
    "code or settings changed, up to `runs.shards_per_run` shards in a run. A change of "
    "toolformer.yaml is seen when the code location is loaded again.",
)

SENSORS = [inbox, annotate_new_shards]
