"""Clients that leave, and clients that mean harm."""

import json
import random
import socket

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")
pytest.importorskip("prometheus_client", reason="needs the extra `serve`")

from tests.server.fake_engine import FakeBatch
from tests.server.serving import Running, happens, serving

FIELDS = (
    ("prompt", [7, None, {}, [1], True, [["a"]], [None]]),
    ("max_tokens", [-1, 0, "1", 1.5, [], {}, True, 10**40, -(10**40)]),
    ("logprobs", [-1, 6, True, "1", 10**40]),
    ("stop", ["", [""], 5, ["a"] * 5, {"a": 1}, "x" * 1001]),
    ("temperature", [-1, 2, "0", [], True]),
    ("top_p", [-0.1, 2, "1"]),
    ("n", [-1, 0, 2, 10**40]),
    ("tools", ["on", 5, [5], ["\x00"], ["Calc"], {"name": "x"}]),
    ("call_top_k", [-1, 1001, "3", 0.5]),
    ("min_call_probability", [-1, 1.1, "1", True]),
    ("max_calls", [-1, 101, None.__class__.__name__, [1]]),
    ("today", ["", "yesterday", "2024-13-01", 20240101, "2024-01-01T00:00"]),
    ("stream", ["true", 1, []]),
    ("stream_options", [True, {"x": 1}, {"include_usage": 1}]),
    ("\x00unknown\ufffd", [1]),
    ("__class__", [{}]),
)


def hostile(choice: random.Random) -> tuple[bytes, set[int]]:
    """A body, and the statuses that are right for it."""
    valid = {"prompt": "6 * 7", "max_tokens": 5}
    kind = choice.randrange(8)
    if kind == 0:
        name, values = choice.choice(FIELDS)
        return json.dumps({**valid, name: choice.choice(values)}).encode(), {400}
    if kind == 1:
        text = "".join(chr(choice.randrange(32)) for _ in range(choice.randrange(50)))
        return json.dumps({"prompt": text + "\x7f\u202e\ufeff"}).encode(), {200}
    if kind == 2:
        surrogate = chr(choice.randrange(0xD800, 0xE000))
        return json.dumps({"prompt": "a" + surrogate + "b"}).encode(), {400}
    if kind == 3:
        whole = json.dumps(valid).encode()
        return whole[: choice.randrange(len(whole))], {400}
    if kind == 4:
        return choice.randbytes(choice.randrange(1, 2000)), {400}
    if kind == 5:
        opening = choice.choice([b"[", b'{"prompt":', b'{"stop":['])
        return opening * choice.randrange(1, 60_000), {400}
    if kind == 6:
        number = choice.choice(["NaN", "Infinity", "-Infinity", "1e9999", "-" + "9" * 5000, "01"])
        return f'{{"prompt": "a", "top_p": {number}}}'.encode(), {400}
    changed = bytearray(json.dumps(valid).encode())
    for _ in range(choice.randrange(1, 4)):
        changed[choice.randrange(len(changed))] = choice.randrange(256)
    return bytes(changed), {200, 400}


def test_a_thousand_hostile_bodies_get_their_status_and_leave_a_server_that_answers():
    choice = random.Random(32)
    with serving() as running:
        for number in range(1000):
            body, statuses = hostile(choice)
            if number % 100 == 0:
                body, statuses = b'{"prompt": "' + b"a" * 10_000_000 + b'"}', {413}
            answer = running.client.post(
                "/v1/completions", content=body, headers={"content-type": "application/json"}
            )
            assert answer.status_code in statuses, (body[:200], answer.text)
            assert answer.status_code == 200 or set(answer.json()) == {"error"}
        assert running.batch.is_idle_soon()
        assert running.complete().status_code == 200


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


def counted(running: Running, status: int) -> float:
    """How many requests for completions have ended so."""
    beginning = f'toolformer_requests_total{{path="/v1/completions",status="{status}"}} '
    lines = running.client.get("/metrics").text.splitlines()
    return sum(float(line.removeprefix(beginning)) for line in lines if line.startswith(beginning))


def test_two_hundred_clients_that_vanish_in_mid_stream_leave_all_places_free():
    with serving(FakeBatch(max_active=200, max_waiting=0)) as running:
        connections = [connection(running, slow("slow")) for _ in range(200)]
        assert happens(lambda: running.batch.active == 200, seconds=20)
        assert running.complete().status_code == 429
        for opened in connections:
            while b"data: " not in opened.recv(4096):
                pass
        for opened in connections:
            opened.close()
        assert running.batch.is_idle_soon()
        assert happens(lambda: counted(running, 499) == 200)
        assert running.complete().status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_does_not_wait_for_its_answer_frees_its_places(stream: bool):
    with serving(FakeBatch(max_active=2, max_waiting=1)) as running:
        with connection(running, slow(["slow", "slow"], stream=stream)):
            assert happens(lambda: running.batch.active == 2)
        assert running.batch.is_idle_soon(1)


def test_a_client_that_keeps_its_body_back_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("toolformer_server.bodies.BODY_SECONDS", 0.1)
    with serving() as running, connection(running, b'{"pro', length=99) as opened:
        assert opened.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_leaves_within_its_body_takes_no_place():
    with serving() as running:
        connection(running, b'{"pro', length=99).close()
        assert happens(lambda: counted(running, 499) == 1)
        assert not running.batch.requests
