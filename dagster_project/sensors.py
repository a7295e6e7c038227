"""What runs by itself once it is switched on in the UI: the inbox, and the stages of new shards."""

import dagster as dg

from dagster_project.home import Home
from dagster_project.inbox import Sightings, entries_of
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
    before, now = Sightings.read(context.cursor), entries_of(folder)
    paths = {name: str(folder / name) for name in before.arrived(now)}
    refused = {name: why for name, path in paths.items() if (why := _why_refused(path))}
    for why in refused.values():
        context.log.warning(why)
    usable = [path for name, path in paths.items() if name not in refused]
    context.update_cursor(before.after(now, list(paths)).text())
    if not usable:
        waiting = sum(
            before.taken.get(name) != state for name, state in now.items() if name not in paths
        )
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


annotate_new_shards = dg.AutomationConditionSensorDefinition(
    "annotate_new_shards",
    target=dg.AssetSelection.groups("build_dataset"),
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Runs the stages of new shards, and of those whose texts, calls, search index or "
    "code changed, up to `runs.shards_per_run` shards in a run. It does not see changes of "
    "toolformer.yaml: these are for a backfill or `toolformer build`.",
)

SENSORS = [inbox, annotate_new_shards]
