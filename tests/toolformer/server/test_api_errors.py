"""The API: what is refused or fails, and how it says so."""

import json

import pytest

from tests.conftest import happens
from tests.toolformer.server.fake_engine import FakeBatch
from tests.toolformer.server.serving import Running, serving


def error_of(answer) -> dict:
    """The error of an answer, which has OpenAI's shape."""
    assert set(answer.json()) == {"error"}, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize(
    ("param", "value", "word"),
    [
        *(
            (name, value, "Expected")
            for name, values in {
                "temperature": [-1, 3, 0.001, [], True],
                "n": [2, 0, 10**40],
                "suffix": ["x"],
                "logit_bias": [{"50256": -100}],
                "frequency_penalty": [-1],
                "top_p": [2, "1"],
                "prompt": [*(None, {}, [["a"]], [None], [], ["a"] * 5, [1, 2], ["a", 1])],
                "max_tokens": [0, -1, 2.0, True, "1", 10**30],
                "stop": [["a"] * 17, "", [""], "x" * 101],
                "logprobs": [21, -1, True],
                "echo": [True],
                "best_of": [2],
                "stream": ["yes", 1],
                "stream_options": [{"usage": True}, {"include_usage": 1}],
                "tools": ["on", [5]],
                "call_top_k": [-1, 0.5],
                "min_call_probability": [1.5, True],
                "max_calls": [101],
                "today": ["2024-02-30", 20240101, "2024-01-01T00:00"],
                "call_probabilities": [1],
                "calls_in_text": [1, "off"],
                "__class__": [{}],
            }.items()
            for value in values
        ),
        ("prompt", "a" * 20_001, "tokens"),
        ("max_token", 5, "'max_tokens'"),
        ("prompt_logprobs", 0, "'logprobs'"),
        ("tools", ["Calculater"], "'Calculator'"),
        ("tools", ["QA"], "no index"),
    ],
)
def test_a_field_that_cannot_be_served_is_refused_by_name(running, param, value, word):
    answer = running.complete(**{param: value})
    assert answer.status_code == 400
    error = error_of(answer)
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert word in error["message"]


@pytest.mark.parametrize(
    ("param", "fields", "word"),
    [
        ("n", {"n": 2, "tools": "off"}, "one outcome"),
        ("max_tokens", {"max_tokens": 513}, "at most 512"),
        ("prompt", {"n": 5, "temperature": 1, "tools": "off"}, "at most 4"),
    ],
)
def test_fields_that_do_not_go_together_are_refused_by_name(running, param, fields, word):
    answer = running.complete(**fields)
    assert answer.status_code == 400
    assert error_of(answer)["param"] == param
    assert word in error_of(answer)["message"]


def test_what_is_asked_of_samples_is_what_the_batch_is_told(running: Running):
    sampled = {"temperature": 0.5, "top_p": 0.9, "tools": "off", "seed": 7}
    running.complete(["a", "b"], n=2, **sampled)
    requests = running.batch.requests[-4:]
    assert [request.prompt for request in requests] == ["a", "a", "b", "b"]
    assert {request.settings.temperature for request in requests} == {0.5}
    assert {request.settings.top_p for request in requests} == {0.9}
    drawn = [request.settings.uniform() for request in requests]
    assert len(set(drawn)) == 4
    running.complete("a", **sampled)
    assert running.batch.requests[-1].settings.uniform() == drawn[0]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1, 2]",
        b'{"prompt": "6 *',
        b'{"prompt":' * 60_000,
        b"\x00\xff\x1b[2J",
        b'{"prompt": "a", "top_p": NaN}',
        b'{"prompt": "a", "top_p": 1e999}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "\xff"}',
        b"[" * 500_000,
        b'{"prompt": ' + b"[" * 150 + b"]" * 150 + b"}",
        b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}",
        b"{}",
    ],
)
def test_a_body_that_is_no_request_is_refused(running: Running, content: bytes):
    headers = {"content-type": "application/json"}
    answer = running.client.post("/v1/completions", content=content, headers=headers)
    assert answer.status_code == 400
    assert error_of(answer)["message"]


@pytest.mark.parametrize("is_told", [True, False])
def test_a_large_body_is_refused_whether_or_not_it_tells_its_length(running, is_told):
    body = b'{"prompt": "' + b"a" * 10_000_000 + b'"}'
    answer = running.client.post(
        "/v1/completions",
        content=body if is_told else (body[at : at + 65536] for at in range(0, len(body), 65536)),
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 413
    assert "Large" in answer.text or "too large" in error_of(answer)["message"]


def test_other_addresses_methods_and_models_are_refused(running: Running):
    client = running.client
    assert client.get("/v1/chat").status_code == 404
    for method, path, allowed in (
        ("GET", "/v1/completions", "POST"),
        ("DELETE", "/v1/models", "GET"),
        ("POST", "/page.js", "GET, HEAD"),
    ):
        refused = client.request(method, path)
        assert refused.status_code == 405
        assert set(refused.headers["allow"].split(", ")) == set(allowed.split(", "))
        assert "does not support the method" in error_of(refused)["message"]
    for answer in (running.complete(model="gpt-4"), client.get("/v1/models/gpt-4")):
        assert answer.status_code == 404
        assert error_of(answer)["code"] == "model_not_found"


def test_memory_that_runs_out_is_a_503_that_says_what_to_lower(running):
    answer = running.complete("large")
    assert (answer.status_code, error_of(answer)["code"]) == (503, "out_of_memory")
    assert "max_tokens" in error_of(answer)["message"]
    streamed = running.complete("large", stream=True)
    assert "memory" in json.loads(streamed.text.removeprefix("data: "))["error"]["message"]


def test_an_error_of_the_server_that_runs_the_model_is_passed_on(running):
    answer = running.complete("remote")
    assert (answer.status_code, error_of(answer)["code"]) == (502, "model_server_failed")
    assert "does not answer. Start it." in error_of(answer)["message"]


def test_a_bug_is_a_500_without_a_traceback_which_is_in_the_log(running, caplog, monkeypatch):
    from toolformer.server.request_handler import RequestHandler

    answer = running.complete("fail")
    assert answer.status_code == 500
    assert error_of(answer)["code"] == "internal_error"
    assert "the batch has a bug" not in answer.text
    streamed = running.complete("fail", stream=True)
    assert json.loads(streamed.text.removeprefix("data: "))["error"]["type"] == "server_error"
    # One of the server itself.
    monkeypatch.setattr(RequestHandler, "_submit", None)
    answer = running.complete()
    assert answer.status_code == 500
    assert "Its log has the details" in error_of(answer)["message"]
    assert "Traceback" not in answer.text
    assert happens(lambda: "'NoneType' object is not callable" in caplog.text)


def test_a_full_queue_is_a_429_and_frees_what_the_request_had():
    with serving(FakeBatch(max_active=3, max_waiting=0)) as full:
        with full.client.stream(
            "POST", "/v1/completions", json={"prompt": "slow", "stream": True, "max_tokens": 512}
        ):
            refused = full.complete(["slow"] * 3, max_tokens=512)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) > 0
            assert error_of(refused)["type"] == "rate_limit_error"
        assert full.batch.is_idle_soon()
        assert full.complete().status_code == 200
