"""The guard in front of Dagster's web server, and what `make ui` starts."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import dagster as dg
import httpx2 as httpx
import psutil
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from dagster_project.commands import ui, web_server
from dagster_project.commands.web_server import WebGuard
from tests.conftest import REPOSITORY, happens
from toolformer.home.home import Home

OWN = "127.0.0.1:3000"
SUBSCRIPTIONS = f"ws://{OWN}/graphql"
JSON = {"content-type": "application/json"}
FETCH = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) { __typename ... on PythonError { message } }
}
"""


async def answered(request: Request) -> PlainTextResponse:
    return PlainTextResponse("answered")


async def subscribed(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("subscribed")
    await socket.close()


def client(address: str = OWN, *, bound_to: str = "127.0.0.1") -> TestClient:
    """A client whose connection arrives at this address, which `Host` says too by default."""
    routes = [
        WebSocketRoute("/graphql", subscribed),
        Route("/{path:path}", answered, methods=["GET", "POST"]),
    ]
    guarded = WebGuard(Starlette(routes=routes), bound_to=bound_to)
    return TestClient(guarded, base_url=f"http://{address}")


# Hosts


@pytest.mark.parametrize(
    ("host", "address", "bound_to"),
    [
        *(
            (host, OWN, "127.0.0.1")
            for host in (OWN, "localhost:3000", "LOCALHOST:3000", "[::1]:3000")
        ),
        ("[::1]:3000", "[::1]:3000", "::1"),
        *(
            (host, "192.168.1.5:3000", "GPU-box")
            for host in ("192.168.1.5:3000", "gpu-box:3000", "localhost:3000")
        ),
        ("192.168.1.5:3000", "192.168.1.5:3000", "0.0.0.0"),
        # Port 80 need not be named.
        ("localhost", "127.0.0.1:80", "127.0.0.1"),
    ],
)
def test_a_server_goes_by_each_name_of_its_address(host: str, address: str, bound_to: str):
    served = client(address, bound_to=bound_to)
    assert served.get("/", headers={"host": host}).text == "answered"
    own_page = {"host": host, "origin": f"http://{host.lower()}", **JSON}
    assert served.post("/graphql", headers=own_page).text == "answered"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:3000",
        "evil.example",
        "127.0.0.1:3001",
        "127.0.0.1.evil.example:3000",
        "localhost",
        "::1",
        "",
    ],
)
def test_a_name_that_someone_else_lets_point_here_is_refused(host: str):
    refused = client().get("/", headers={"host": host})
    assert refused.status_code == 403
    assert f"does not go by the name '{host}'. Open http://127.0.0.1:3000" in refused.text


# Origins


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://127.0.0.1:8888",
        "http://localhost:3000",
        "https://127.0.0.1:3000",
        "http://127.0.0.1:3000.evil.example",
        "",
    ],
)
def test_pages_of_another_origin_are_refused(origin: str):
    for refused in (
        client().post("/graphql", headers={"origin": origin, **JSON}),
        client().get("/runs", headers={"origin": origin}),
    ):
        assert refused.status_code == 403
        assert "not from a page of http://127.0.0.1:3000" in refused.text


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything-new"])
def test_what_the_browser_calls_foreign_is_refused_unless_it_is_a_link(site: str):
    link = dict(FETCH, **{"sec-fetch-site": site})
    assert client().get("/asset-groups", headers=link).text == "answered"
    for refused in (
        client().get("/asset-groups", headers=link | {"sec-fetch-dest": "iframe"}),
        client().get("/asset-groups", headers=link | {"sec-fetch-mode": "cors"}),
        client().post("/graphql", headers=link | JSON),
    ):
        assert (refused.status_code, "from another site" in refused.text) == (403, True)


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_pages_own_requests_pass(site: str):
    sent = {"sec-fetch-site": site, "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}
    assert client().get("/script.js", headers=sent).text == "answered"
    own_page = {"origin": f"http://{OWN}", "content-type": "application/json; charset=UTF-8"}
    assert client().post("/graphql", headers=sent | own_page).text == "answered"


def test_subscriptions_are_for_own_pages():
    for own_page in ({}, {"origin": f"http://{OWN}"}):
        with client().websocket_connect(SUBSCRIPTIONS, headers=own_page) as subscription:
            assert subscription.receive_text() == "subscribed"
    for foreign in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"host": "evil.example:3000", "origin": "http://evil.example:3000"},
    ):
        with (
            pytest.raises(WebSocketDenialResponse) as denied,
            client().websocket_connect(SUBSCRIPTIONS, headers=foreign),
        ):
            pass
        assert denied.value.status_code == 403
        assert "Refused: " in denied.value.text


# Forms of request that a browser sends without asking first


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain; application/json",
        "text/plain, application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "",
        None,
    ],
)
def test_only_json_is_posted(content_type: str | None):
    headers = {} if content_type is None else {"content-type": content_type}
    for path in ("/graphql", "/report_asset_materialization/documents"):
        refused = client().post(path, content=b"{}", headers=headers)
        assert (refused.status_code, "application/json" in refused.text) == (415, True)


def test_graphql_does_not_stand_in_an_address():
    for path in ("/graphql", "/graphql/", "/prefix/graphql"):
        refused = client().get(path, params={"query": "mutation { x }"})
        assert (refused.status_code, "GraphQL in an address" in refused.text) == (403, True)
    # The playground, and pages whose state stands in the address.
    for path in ("/graphql", "/runs?q=status"):
        assert client().get(path).text == "answered"


# What is started


def test_the_web_server_is_started_with_the_guard_and_the_daemon_snapshot():
    server = ["python", "-m", "dagster_webserver", "--port", "3000"]
    assert ui.guarded(server) == ["python", "-m", web_server.__name__, "--port", "3000"]
    daemon = ["python", "-m", "dagster._daemon", "run"]
    assert ui.guarded(daemon) == daemon
    with pytest.raises(RuntimeError, match=r"requirements\.lock"):
        ui.guarded(["python", "-m", "dagster_ui", "serve"])


def test_the_guard_knows_the_host_that_dagsters_server_is_told(home: Home, monkeypatch):
    import click
    from dagster_webserver import cli

    served = []

    def serve() -> None:
        """As `dagster-webserver` does; the test of the whole below starts that itself."""
        click.get_current_context().params["host"] = "gpu-box"
        app = cli.create_app_from_workspace_process_context(None)
        for host in ("gpu-box:3000", "evil.example:3000"):
            answer = TestClient(app, base_url=f"http://{OWN}").get("/a", headers={"host": host})
            served.append(answer.status_code)

    name = "create_app_from_workspace_process_context"
    app = Starlette(routes=[Route("/{path:path}", answered)])
    monkeypatch.setattr(cli, name, lambda _context: app)
    monkeypatch.setattr(cli, "main", serve)
    with click.Context(cli.dagster_webserver).scope():
        web_server.main()
    assert served == [200, 403]


@pytest.fixture
def session(tmp_path) -> Iterator[tuple[httpx.Client, Path, subprocess.Popen]]:
    """`make ui` without its preparation: a client, its log and its process."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    log = tmp_path / "log"
    with log.open("w") as output:
        started = subprocess.Popen(
            [sys.executable, "-m", ui.__name__, "-p", str(port)],
            cwd=REPOSITORY,
            env={**os.environ, "TOOLFORMER_HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)},
            stdout=output,
            stderr=output,
            start_new_session=True,
            # As a shell script starts what it puts into the background.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        )
    address = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(
            base_url=address, trust_env=False, timeout=60, follow_redirects=True
        ) as client:
            assert happens(lambda: started.poll() is not None or is_there(client), seconds=240), (
                log.read_text()
            )
            assert started.poll() is None, log.read_text()
            yield client, log, started
    finally:
        for process in processes_of(started.pid):
            process.kill()
        started.wait()


def is_there(client: httpx.Client) -> bool:
    try:
        return client.get("/server_info").status_code == 200
    except httpx.TransportError:
        return False


def processes_of(session: int) -> list[psutil.Process]:
    """What runs in a session of processes."""
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.mark.slow
def test_the_ui_serves_its_pages_and_no_page_of_others_starts_a_run(session, tmp_path):
    client, log, started = session
    own_page = {"Origin": str(client.base_url), **JSON}
    assert "warning" not in log.read_text().lower()

    def asked(content: bytes) -> object:
        """What GraphQL answers to a page of the UI."""
        return client.post("/graphql", content=content, headers=own_page).json()["data"]

    assert "initialization-data" in client.get("/").text
    query = json.dumps({"query": "{ runsOrError { ... on Runs { results { runId } } } }"}).encode()
    nothing = {"runsOrError": {"results": []}}
    assert asked(query) == nothing

    # A program that a page would like to be run.
    overrides = {"tools": {"others": {"options": {"command": ["sh"]}}}}
    location = {"repositoryLocationName": "toolformer", "repositoryName": "__repository__"}
    params = {
        "selector": {**location, "pipelineName": "prepare"},
        "mode": "default",
        "runConfigData": {"resources": {"settings": {"config": {"overrides": overrides}}}},
    }
    launch = json.dumps({"query": LAUNCH, "variables": {"params": params}}).encode()
    in_address = {"query": LAUNCH, "variables": json.dumps({"params": params})}
    as_text, evil = {"Content-Type": "text/plain"}, {"Origin": "http://evil.example"}
    for refused in (
        client.post("/graphql", content=launch, headers=as_text | evil),
        client.post("/graphql", params=in_address, headers=as_text),
        client.get("/graphql", params=in_address),
        client.post("/graphql", content=launch, headers=own_page | evil),
        client.post("/graphql", content=launch, headers=own_page | {"Host": "evil.example"}),
    ):
        assert refused.status_code in (403, 415), refused
        assert refused.text.startswith("Refused: "), refused
    # From the UI's own page a resource that nobody defined is refused before the launch …
    refusal = {"launchRun": {"__typename": "RunConfigValidationInvalid"}}
    assert asked(launch.replace(b'"settings"', b'"setings"')) == refusal
    assert asked(query) == nothing

    # … and the same launch as above is queued and run; then the settings refuse the program.
    assert asked(launch) == {"launchRun": {"__typename": "LaunchRunSuccess"}}
    with dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as instance:
        assert happens(
            lambda: [run.is_finished for run in instance.get_runs()] == [True], seconds=240
        )
        (run,) = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.FAILURE
        said = " ".join(str(entry) for entry in instance.all_logs(run.run_id))
    assert "tools.others.options.command" in said

    started.send_signal(signal.SIGTERM)
    assert happens(lambda: not processes_of(started.pid), seconds=60)
    assert "Dagster services shut down" in log.read_text()
