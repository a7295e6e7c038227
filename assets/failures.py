"""Turns expected errors into Dagster failures that say what to do and are not retried."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import dagster as dg

from toolformer.home.expected_errors import EXPECTED_ERRORS, explain_out_of_memory, explained

# Metadata of a failed step: the shards that failed in this stage, not in an earlier one.
FAILED_SHARDS = "failed shards"


@contextmanager
def expected_errors() -> Iterator[None]:
    try:
        with explain_out_of_memory():
            yield
    except EXPECTED_ERRORS as error:
        raise failure_of(error) from error


def failure_of(error: Exception) -> dg.Failure:
    return dg.Failure(description=explained(error), allow_retries=False)


def failure_of_shards(errors: Mapping[str, Exception], left_out: Sequence[str]) -> dg.Failure:
    """Return a failure that explains each error; `left_out` failed in an earlier stage."""
    lines = [f"{shard}: {explained(error)}" for shard, error in errors.items()]
    if errors:
        lines.insert(
            0,
            f"{len(errors)} shard{'s' if len(errors) > 1 else ''} failed. The others are "
            "stored; running again repeats only the failed ones.",
        )
    if left_out:
        lines.append(f"Shards skipped because an earlier stage failed: {', '.join(left_out)}.")
    metadata = {FAILED_SHARDS: dg.MetadataValue.json(list(errors))}
    return dg.Failure(description="\n".join(lines), metadata=metadata, allow_retries=False)


def failed_shards(context: dg.AssetExecutionContext, stages: Collection[str]) -> set[str]:
    records = context.instance.get_records_for_run(
        context.run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE
    ).records
    events = [record.event_log_entry.get_dagster_event() for record in records]
    failures = [
        event.step_failure_data.user_failure_data for event in events if event.step_key in stages
    ]
    listed = [failure.metadata.get(FAILED_SHARDS) for failure in failures if failure]
    return {str(shard) for shards in listed if shards for shard in cast("Any", shards.value)}
