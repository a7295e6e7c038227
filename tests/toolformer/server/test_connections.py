"""Clients that connect and ask nothing: they hold no place for long, and nobody else is blocked."""

import socket
import time

import pytest

from tests.conftest import happens
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
