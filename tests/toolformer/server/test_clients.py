"""Clients that leave."""

import json
import socket

import pytest

from tests.conftest import happens
from tests.toolformer.server.fake_engine import FakeBatch
from tests.toolformer.server.serving import Running, serving


def connection(running: Running, body: bytes, *, length: int | None = None) -> socket.socket:
    """One on which a body was sent."""
    opened = socket.create_connection(("127.0.0.1", running.port), timeout=20)
    opened.sendall(
        b"POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\n"
        + f"Host: 127.0.0.1:{running.port}\r\n".encode()
        + f"Content-Length: {length or len(body)}\r\n\r\n".encode()
        + body
    )
    return opened


def slow(prompts: str | list[str], *, stream: bool = True) -> bytes:
    return json.dumps({"prompt": prompts, "stream": stream, "max_tokens": 512}).encode()


def test_fifty_clients_that_vanish_in_mid_stream_leave_all_places_free():
    with serving(FakeBatch(max_active=50, max_waiting=0)) as running:
        connections = [connection(running, slow("slow")) for _ in range(50)]
        assert happens(lambda: running.batch.active == 50, seconds=20)
        assert running.complete().status_code == 429
        for opened in connections:
            while b"data: " not in opened.recv(4096):
                pass
        for opened in connections:
            opened.close()
        assert running.batch.is_idle_soon()
        assert running.complete().status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_does_not_wait_for_its_answer_frees_its_places(stream: bool):
    with serving(FakeBatch(max_active=2, max_waiting=1)) as running:
        with connection(running, slow(["slow", "slow"], stream=stream)):
            assert happens(lambda: running.batch.active == 2)
        assert running.batch.is_idle_soon(1)


def test_a_client_that_leaves_within_its_body_takes_no_place(capfd):
    with serving() as running:
        connection(running, b'{"pro', length=99).close()
        assert running.complete().status_code == 200
        assert len(running.batch.requests) == 1
    assert "Traceback" not in capfd.readouterr().err
