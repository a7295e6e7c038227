"""The server's life: the command, and how it ends."""

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import pytest
import uvicorn
from starlette.testclient import TestClient

from dagster_project.commands import complete
from tests.conftest import REPOSITORY, happens
from tests.dagster_project.command_line import run_command
from tests.fakes import ScriptedModel
from tests.toolformer.server import serving as started_here
from tests.toolformer.server.fake_engine import FakeBatch
from tests.toolformer.server.serving import serving


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
        logged, said = process.communicate(timeout=20)
    finally:
        process.kill()
    # What the command lets go behind the server, it has let go.
    assert logged.endswith("closed\n"), said
    assert [line.split()[-2:] for line in logged.splitlines()[:-1]] == [["200", "OK"]]
    assert process.returncode == 0


def test_what_runs_too_long_is_cancelled():
    with ThreadPoolExecutor() as threads, serving(closing_seconds=0) as running:
        # By a client of its own: the other one is closed with the server, and the answer may not
        # have been read by then.
        address = running.client.base_url.join("/v1/completions")
        fields = {"prompt": "slow", "max_tokens": 512}
        slow = threads.submit(httpx.post, address, json=fields, timeout=60, trust_env=False)
        assert happens(lambda: running.batch.active)
    assert slow.result(10).status_code == 500
    assert running.batch.is_idle_soon(5)


def test_the_command_serves_the_model_of_the_home(tmp_path, monkeypatch, capsys):
    from toolformer.decoding import live_batch

    answers, origin = [], "https://chat.example"

    def ask(server: uvicorn.Server, sockets) -> None:
        port = sockets[0].getsockname()[1]
        client = TestClient(server.config.app, base_url=f"http://127.0.0.1:{port}")
        from_page = {"host": "svc", "origin": origin}
        answers.extend(client.get("/v1/models", headers=each) for each in ({}, from_page))

    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(live_batch, "LiveBatch", FakeBatch)
    location = complete.ModelLocation(tmp_path / "small")
    monkeypatch.setattr(complete, "named_model", lambda *_: location)
    monkeypatch.setattr(complete.ModelHolder, "load", lambda *_, **__: ScriptedModel([]))
    monkeypatch.setattr(uvicorn.Server, "run", ask)
    asked = ["--tools", "Calculator", "--port", 0, "--set", "decoding.min_call_probability=0.5"]
    asked += ["--no-calls-in-text", "--allowed-host", "svc", "--cors-origin", origin]
    outcome = run_command(capsys, "serve", *asked)
    assert outcome.code == 0, outcome.err
    assert "serves scripted with Calculator. Press Ctrl-C to stop." in outcome.out
    (model,) = answers[0].json()["data"]
    assert (model["id"], model["toolformer"]["tools"]) == ("scripted", ["Calculator"])
    assert model["toolformer"]["min_call_probability"] == 0.5
    assert model["toolformer"]["min_call_probability_behind_prompt"] == 0.5
    assert model["toolformer"]["calls_in_text"] is False
    assert answers[1].headers["access-control-allow-origin"] == origin


def test_what_is_missing_is_said_before_anything_is_loaded(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TOOLFORMER_API_KEY", raising=False)
    refused = run_command(capsys, "serve", "--host", "0.0.0.0")
    assert refused.is_one_paragraph_naming("TOOLFORMER_API_KEY")
