"""A server over the fake engine."""

from collections.abc import Iterator

import pytest

from tests.toolformer.server.serving import Running, serving


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving() as started:
        yield started
