"""Who may ask: keys, hosts, pages of other sites."""

import socket

import pytest

from tests.server.serving import Running, serving
from toolformer.errors import ToolformerError
from toolformer_server.gate import check_access
from toolformer_server.running import bound_socket

KEY = "gehëim"


@pytest.fixture(scope="module")
def locked():
    with serving(key=KEY) as started:
        yield started


@pytest.mark.parametrize("given", [None, "", "Bearer", f"Bearer {KEY}x", KEY, "Basic abc"])
def test_without_the_key_only_page_and_health_answer(locked: Running, given: str | None):
    headers = {} if given is None else {"authorization": given.encode()}
    client = locked.client
    for path in ("/v1/models", "/metrics", "/openapi.json", "/nothing"):
        refused = client.get(path, headers=headers)
        assert refused.status_code == 401
        assert refused.json()["error"]["type"] == "authentication_error"
    assert client.post("/v1/completions", headers=headers, json={}).status_code == 401
    for path in ("/", "/index.html", "/health"):
        assert client.get(path, headers=headers).status_code == 200


def test_with_the_key_all_answers(locked: Running):
    headers = {"authorization": f"Bearer {KEY}".encode()}
    assert locked.client.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_pages_of_other_sites_are_refused_with_and_without_a_key(locked, headers, status):
    with serving() as unlocked:
        for running in (locked, unlocked):
            for path in ("/health", "/", "/v1/models"):
                answer = running.client.get(path, headers=headers)
                assert answer.status_code == status
                assert answer.headers["x-request-id"]


def test_a_server_for_others_needs_a_key():
    for host in ("127.0.0.1", "localhost", "::1"):
        check_access(host, None)
    check_access("0.0.0.0", KEY)
    with pytest.raises(ToolformerError, match="TOOLFORMER_API_KEY"):
        check_access("0.0.0.0", None)


def test_a_port_that_is_taken_is_an_error_in_one_sentence():
    refused = pytest.raises(ToolformerError, match="--port")
    with socket.create_server(("127.0.0.1", 0)) as taken, refused:
        bound_socket("127.0.0.1", taken.getsockname()[1])
