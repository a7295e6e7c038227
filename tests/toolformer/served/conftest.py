import pytest

from tests.fakes import tiny_model
from tests.toolformer.served.fake_server import served_by
from toolformer.served import http_client


@pytest.fixture(scope="module")
def local():
    return tiny_model(context_length=1024)


@pytest.fixture(scope="module")
def pair(local):
    with served_by(local) as (fake, model):
        yield fake, model


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(http_client, "_MAX_RETRY_DELAY", 0.1)
