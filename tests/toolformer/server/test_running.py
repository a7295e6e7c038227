"""The server's life: the command, the log, and how it ends."""

import contextlib
import json
import logging
import resource
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx2 as httpx
import pytest
from starlette.testclient import TestClient

from dagster_project.commands import completing
from tests.conftest import REPOSITORY, happens
from tests.dagster_project.command_line import run_command
from tests.fakes import ScriptedModel
from tests.toolformer.server import serving as started_here
from tests.toolformer.server.fake_engine import FakeBatch
from tests.toolformer.server.serving import serving
from toolformer.server.request_log import REQUESTS, JsonLines
from toolformer.server.running import IDLE_SECONDS
from tools.model_identity import model_identity


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_runs_finish_and_refuses_what_comes(told: int):
    command, pipe = [sys.executable, "-m", started_here.__name__], subprocess.PIPE
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=pipe, stderr=pipe, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        slow = {"prompt": "slow", "max_tokens": 150, "stream": True}
        with (
            httpx.Client(base_url=address, timeout=20, trust_env=False) as client,
            client.stream("POST", "/v1/completions", json=slow) as stream,
        ):
            lines = stream.iter_lines()
            next(lines)
            process.send_signal(told)
            time.sleep(0.5)
            with pytest.raises(httpx.ConnectError):
                client.post("/v1/completions", json={"prompt": "6 * 7"})
            assert [line for line in lines if line][-1] == "data: [DONE]"
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0, said
    logged = [json.loads(line) for line in said.splitlines()]
    assert [line["status"] for line in logged] == [200]


@pytest.mark.slow
def test_idle_connections_are_closed_and_stop_nobody():
    command, pipe = [sys.executable, "-m", started_here.__name__], subprocess.PIPE
    # Fewer files than connections.
    few_files = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (128, 128))
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=pipe, stderr=pipe, text=True, preexec_fn=few_files
    )
    with contextlib.ExitStack() as opened:
        opened.callback(process.kill)
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        place = "127.0.0.1", int(address.rpartition(":")[2])
        idle = [opened.enter_context(socket.create_connection(place)) for _ in range(200)]
        for each in idle[::2]:
            # The first ones had to make room.
            with contextlib.suppress(ConnectionError):
                each.sendall(b"POST /v1/completions HTTP/1.1\r\nHost:")
        asked = httpx.post(
            f"{address}/v1/completions", json={"prompt": "6 * 7"}, timeout=20, trust_env=False
        )
        assert asked.status_code == 200
        for each in idle[-2:]:
            each.settimeout(2 * IDLE_SECONDS)
        # No byte now and then keeps one.
        time.sleep(IDLE_SECONDS / 2)
        idle[-2].sendall(b"1")
        assert [each.recv(1) for each in idle[-2:]] == [b"", b""]
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert [json.loads(line)["status"] for line in said.splitlines()] == [200]


def test_what_runs_too_long_is_cancelled_and_says_so():
    with ThreadPoolExecutor() as threads, serving(closing_seconds=0.2) as running:
        # By a client of its own: the other one is closed with the server, and the answer may not
        # have been read by then.
        address = running.client.base_url.join("/v1/completions")
        fields = {"prompt": "slow", "max_tokens": 512}
        slow = threads.submit(httpx.post, address, json=fields, timeout=60, trust_env=False)
        assert happens(lambda: running.batch.active)
    answer = slow.result(10)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "closing")


@pytest.mark.parametrize("logs_prompts", [False, True])
def test_a_request_is_one_line_of_json_with_its_prompt_only_where_asked(caplog, logs_prompts):
    caplog.set_level(logging.INFO, REQUESTS.name)
    with serving(logs_prompts=logs_prompts) as running:
        request_id = running.complete("6 * 7 \n\x00").headers["x-request-id"]
    (record,) = (one for one in caplog.records if one.name == REQUESTS.name)
    line = JsonLines().format(record)
    assert "\n" not in line
    fields = json.loads(line)
    assert fields["request_id"] == request_id
    assert (fields["path"], fields["status"]) == ("/v1/completions", 200)
    assert (fields["prompt_tokens"], fields["completion_tokens"], fields["calls"]) == (4, 5, 1)
    assert 0 < fields["first_token_seconds"] <= fields["seconds"]
    assert ("6 * 7" in line) == logs_prompts


def test_the_command_serves_the_model_of_the_home(tmp_path, monkeypatch, capsys):
    from toolformer.decoding import live_batch
    from toolformer.server.running import Server

    answers, origin = [], "https://chat.example"

    def ask(server: Server, sockets) -> None:
        port = sockets[0].getsockname()[1]
        client = TestClient(server.config.app, base_url=f"http://127.0.0.1:{port}")
        from_page = {"host": "svc", "origin": origin}
        answers.extend(client.get("/v1/models", headers=each) for each in ({}, from_page))
        server._on_start()

    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(live_batch, "LiveBatch", FakeBatch)
    location = completing.ModelLocation(tmp_path / "small")
    monkeypatch.setattr(completing, "named_model", lambda *_: location)
    monkeypatch.setattr(completing.ModelHolder, "load", lambda *_, **__: ScriptedModel([]))
    monkeypatch.setattr(Server, "run", ask)
    monkeypatch.setattr(logging.getLogger(), "handlers", [*logging.getLogger().handlers])
    asked = ["--tools", "Calculator", "--port", 0, "--set", "decoding.min_call_probability=0.5"]
    asked += ["--no-calls-in-text", "--allowed-host", "svc", "--cors-origin", origin]
    outcome = run_command(capsys, "serve", *asked)
    assert outcome.code == 0, outcome.err
    assert "serves scripted with Calculator. Ctrl-C ends it." in outcome.out
    (model,) = answers[0].json()["data"]
    assert (model["id"], model["toolformer"]["tools"]) == ("scripted", ["Calculator"])
    # Whoever annotates with it knows another model of this name by it.
    assert model["revision"] == model_identity(location.directory)
    assert model["toolformer"]["min_call_probability"] == 0.5
    assert model["toolformer"]["min_call_probability_behind_prompt"] == 0.5
    assert model["toolformer"]["calls_in_text"] is False
    assert answers[1].headers["access-control-allow-origin"] == origin


def test_a_model_that_is_replaced_while_it_is_loaded_is_not_served_as_the_new_one(
    tmp_path, monkeypatch, capsys
):
    location = completing.ModelLocation(tmp_path / "small")

    def load_and_replace(*_, **__):
        location.directory.mkdir()
        (location.directory / "model.safetensors").write_bytes(b"new")
        return ScriptedModel([])

    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(completing, "named_model", lambda *_: location)
    monkeypatch.setattr(completing.ModelHolder, "load", load_and_replace)
    monkeypatch.setattr(logging.getLogger(), "handlers", [*logging.getLogger().handlers])
    told = ["--set", "decoding.min_call_probability=0.5"]
    refused = run_command(capsys, "serve", "--tools", "Calculator", "--port", 0, *told)
    assert refused.is_one_paragraph_naming("was replaced by another model")


def test_what_is_missing_is_said_before_anything_is_loaded(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TOOLFORMER_API_KEY", raising=False)
    refused = run_command(capsys, "serve", "--host", "0.0.0.0")
    assert refused.is_one_paragraph_naming("TOOLFORMER_API_KEY")
