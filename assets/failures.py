"""Expected errors as failures of an asset: they say what to do, and are not retried."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from toolformer_home.expected_errors import EXPECTED_ERRORS, explained, memory_explained


@contextmanager
def expected_errors() -> Iterator[None]:
    """Errors of input and set-up inside the block become failures that say what to do."""
    try:
        with memory_explained():
            yield
    except EXPECTED_ERRORS as error:
        raise failure_of(error) from error


def failure_of(*errors: Exception, shards: list[str] | None = None) -> dg.Failure:
    """Expected errors as a failure that says what to do and is not retried."""
    if not shards:
        return dg.Failure(description=explained(errors[0]), allow_retries=False)
    lines = [f"{shard}: {explained(error)}" for shard, error in zip(shards, errors, strict=True)]
    return dg.Failure(
        description="\n".join(
            [
                f"{len(shards)} shards failed; what the others made is stored, and a re-run costs "
                "only the failed ones.",
                *lines,
            ]
        ),
        allow_retries=False,
    )
