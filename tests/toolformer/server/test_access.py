"""Who may ask: keys, hosts, pages of other sites."""

import socket

import pytest

from tests.toolformer.server.serving import Running, serving
from toolformer.errors import ToolformerError
from toolformer.server.app import check_access
from toolformer.server.running import bound_socket

KEY = "gehëim"
AUTHORIZED = {"authorization": f"Bearer {KEY}".encode()}


@pytest.fixture(scope="module")
def locked():
    with serving(key=KEY) as started:
        yield started


@pytest.mark.parametrize("given", [None, "", "Bearer", f"Bearer {KEY}x", KEY, "Basic abc"])
def test_without_the_key_only_page_and_health_answer(locked: Running, given: str | None):
    headers = {} if given is None else {"authorization": given.encode()}
    client = locked.client
    refused = [client.get(path, headers=headers) for path in ("/v1/models", "/v1/models/a")]
    for path in ("/v1/completions", "/v1/chat/completions"):
        refused.append(client.post(path, headers=headers, json={}))
    for answer in refused:
        assert answer.status_code == 401
        assert answer.json()["error"]["type"] == "authentication_error"
    for path in ("/", "/index.html", "/health"):
        assert client.get(path, headers=headers).status_code == 200
    assert client.get("/v1/models", headers=AUTHORIZED).status_code == 200


def test_a_server_without_a_key_answers_to_its_own_names_alone(locked: Running):
    with serving(allowed_hosts=["Toolformer.default.svc"]) as named:
        for host, status in {
            "toolformer.default.svc": 200,
            "TOOLFORMER.default.svc:80": 200,
            "toolformer.default.svc.evil.example": 400,
            "evil.example": 400,
            "localhost:9000": 200,
            "[::1]": 200,
            f"127.0.0.1:{named.port}": 200,
        }.items():
            assert named.client.get("/v1/models", headers={"host": host}).status_code == status
    headers = AUTHORIZED | {"host": "any.example"}
    assert locked.client.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_pages_may_send_without_leave_is_refused(running: Running, content_type):
    asked = len(running.batch.requests)
    headers = {"origin": "http://evil.example"}
    headers |= {"content-type": content_type} if content_type else {}
    answer = running.client.post("/v1/completions", content=b'{"prompt": "a"}', headers=headers)
    assert answer.status_code == 400
    assert "application/json" in answer.json()["error"]["message"]
    assert len(running.batch.requests) == asked


def test_pages_of_listed_origins_may_ask_and_still_need_the_key():
    origin = "https://chat.example:8443"
    wanted = {"access-control-request-method": "POST"}
    wanted["access-control-request-headers"] = "authorization,content-type,x-stainless-os"
    with serving(key=KEY, cors_origins=[origin, "app://notes"]) as running:
        client = running.client
        leave = client.options("/v1/completions", headers={"origin": origin, **wanted})
        assert leave.status_code == 200
        assert leave.headers["access-control-allow-origin"] == origin
        assert "x-stainless-os" in leave.headers["access-control-allow-headers"]
        refused = client.get("/v1/models", headers={"origin": origin})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == origin
        other = {"origin": "https://evil.example"}
        assert client.options("/v1/completions", headers={**other, **wanted}).status_code == 400
        answer = client.get("/v1/models", headers={**other, **AUTHORIZED})
        assert "access-control-allow-origin" not in answer.headers
    with serving() as closed:
        refused = closed.client.options("/v1/completions", headers={"origin": origin, **wanted})
        assert refused.status_code == 400
        assert "access-control-allow-origin" not in refused.headers


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
