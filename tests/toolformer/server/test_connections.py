"""Clients that connect and ask nothing: they hold no place for long, and nobody else is blocked."""

import asyncio
import resource
import socket
import subprocess
import sys
import time

import httpx2 as httpx
import pytest

from tests.conftest import REPOSITORY, happens
from tests.toolformer.server import serving as started_here
from tests.toolformer.server.serving import serving
from toolformer.server import connections

HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
UNFINISHED = {
    "nothing": b"",
    "half a line": b"POST /v1/comp",
    "half a head": HEAD + b"x-slow: ",
    "a body without its end": HEAD + b"content-length: 1000\r\n\r\n{",
    "half of a second head": b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\nGET /hea",
}


def is_closed(client: socket.socket) -> bool:
    """Whether the server has ended a connection, whatever it sent before."""
    client.settimeout(0.02)
    try:
        while client.recv(4096):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("sent", UNFINISHED.values(), ids=UNFINISHED)
def test_who_does_not_finish_a_request_is_put_off(sent: bytes, monkeypatch):
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.3)
    with serving(key="secret") as running:
        with socket.create_connection(("127.0.0.1", running.port)) as client:
            client.sendall(sent)
            assert happens(lambda: is_closed(client))
        assert running.client.get("/health").status_code == 200


def test_bytes_that_trickle_in_win_no_time(monkeypatch):
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.5)
    with (
        serving(key="secret") as running,
        socket.create_connection(("127.0.0.1", running.port)) as client,
    ):
        client.sendall(HEAD)
        began = time.monotonic()
        while not is_closed(client) and time.monotonic() < began + 10:
            client.send(b"x")
        assert time.monotonic() < began + 5


def test_an_answer_may_take_longer_than_a_head(monkeypatch):
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.2)
    with serving() as running:
        slow = running.complete("slow", max_tokens=100)
    assert slow.status_code == 200
    assert slow.elapsed.total_seconds() > 0.4


def test_heads_that_are_never_finished_block_nobody_and_fill_no_log():
    """More of them than the process may have open files."""
    command = [sys.executable, "-m", started_here.__name__]
    limit = (128, 128)
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit),
    ) as process:
        held = []
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            port = int(address.rpartition(":")[2])
            for _ in range(300):
                held.append(socket.create_connection(("127.0.0.1", port), timeout=5))
                held[-1].sendall(HEAD)
            for _ in range(5):
                answer = httpx.get(f"{address}/health", timeout=20, trust_env=False)
                assert answer.status_code == 200
            process.terminate()
            _, said = process.communicate(timeout=20)
        finally:
            process.kill()
            for client in held:
                client.close()
    assert process.returncode == 0, said
    assert len(said.splitlines()) < 20, said[:2000]


def test_an_accept_that_would_be_tried_again_behind_the_end_is_not_told(caplog):
    loop, handle = asyncio.new_event_loop(), connections.warn_seldom(set())
    again = "Exception in callback BaseSelectorEventLoop._start_serving(<function>)"
    try:
        handle(loop, {"message": again, "exception": ValueError("Invalid file descriptor: -1")})
        assert not caplog.records
        handle(loop, {"message": again, "exception": RuntimeError("of another kind")})
        handle(loop, {"message": "in another callback", "exception": ValueError("of another kind")})
    finally:
        loop.close()
    assert [record.message.partition("\n")[0] for record in caplog.records] == [
        again,
        "in another callback",
    ]
