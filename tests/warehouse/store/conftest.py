"""Fixtures of the tests of object stores."""

from collections.abc import Iterator
from itertools import count

import pytest

from tests.s3 import Store, running_store

_BUCKETS = count()


@pytest.fixture(scope="session")
def s3() -> Iterator[Store]:
    """A store of this machine."""
    with running_store() as store:
        yield store


@pytest.fixture
def bucket(s3: Store, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a new bucket, with the environment that leads there."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    # For clients of the tests' own; ours goes by the endpoint.
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    name = f"bucket-{next(_BUCKETS)}"
    s3.make_bucket(name)
    return f"s3://{name}/prefix"
