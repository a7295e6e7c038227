"""Who may ask: keys, hosts, pages of other sites."""

import socket

import pytest

from tests.toolformer.server.serving import Running, serving
from toolformer.errors import ToolformerError
from toolformer.server.gate import check_access, check_names
from toolformer.server.running import bound_socket

KEY = "gehëim"


@pytest.fixture(scope="module")
def locked():
    with serving(key=KEY) as started:
        yield started


@pytest.mark.parametrize("given", [None, "", "Bearer", f"Bearer {KEY}x", KEY, "Basic abc"])
def test_without_the_key_only_page_and_health_answer(locked: Running, given: str | None):
    headers = {} if given is None else {"authorization": given.encode()}
    client = locked.client
    for path in ("/v1/models", "/openapi.json", "/nothing"):
        refused = client.get(path, headers=headers)
        assert refused.status_code == 401
        assert refused.json()["error"]["type"] == "authentication_error"
    assert client.post("/v1/completions", headers=headers, json={}).status_code == 401
    for path in ("/", "/index.html", "/health"):
        assert client.get(path, headers=headers).status_code == 200


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


def test_a_further_name_is_the_servers_with_any_port_and_no_other_is():
    with serving(allowed_hosts=["Toolformer.default.svc", "host.docker.internal"]) as named:
        for host, status in {
            "toolformer.default.svc": 200,
            "TOOLFORMER.default.svc:80": 200,
            "host.docker.internal:9000": 200,
            "docker.internal": 421,
            "host.docker.internal.evil.example": 421,
            f"127.0.0.1:{named.port}": 200,
        }.items():
            answer = named.client.get("/v1/models", headers={"host": host})
            assert answer.status_code == status, host
        refused = named.client.get("/health", headers={"host": "evil.example"})
        assert "--allowed-host" in refused.json()["error"]["message"]
        # Its own page there, and no page of another site.
        for origin, status in (("http://toolformer.default.svc", 200), ("http://evil", 403)):
            headers = {"host": "toolformer.default.svc", "origin": origin}
            assert named.client.get("/health", headers=headers).status_code == status


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
        from_page = {"origin": origin, "sec-fetch-site": "cross-site"}
        refused = client.get("/v1/models", headers=from_page)
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == origin
        key = {"authorization": f"Bearer {KEY}".encode()}
        assert client.get("/v1/models", headers={**from_page, **key}).status_code == 200
        other = {"origin": "https://evil.example"}
        assert client.options("/v1/completions", headers={**other, **wanted}).status_code == 400
        answer = client.get("/v1/models", headers={**other, **key})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
        of_page = client.get("/health", headers={"sec-fetch-site": "cross-site"})
        assert of_page.status_code == 403
    with serving() as closed:
        refused = closed.client.options("/v1/completions", headers={"origin": origin, **wanted})
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize(
    ("hosts", "origins", "option"),
    [
        *((name, (), "--allowed-host") for name in ([""], ["*"], ["a:80"], ["http://a"], ["-a/b"])),
        *(
            ((), name, "--cors-origin")
            for name in (["*"], ["null"], ["https://a/"], ["https://*.a"], ["chat.example"])
        ),
    ],
)
def test_names_that_no_header_holds_and_patterns_are_refused(hosts, origins, option):
    check_names(["toolformer", "10.0.0.7"], ["https://a.example", "http://[::1]:3000"])
    with pytest.raises(ToolformerError, match=f"{option} is .*Expected"):
        check_names(hosts, origins)


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
