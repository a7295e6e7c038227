"""The API: each field, whole answers and streams."""

import datetime
import json

import pytest

from tests.toolformer.server.fake_engine import ANSWER, CALL
from tests.toolformer.server.serving import Running, serving


def events(answer) -> list[dict]:
    """The events of a stream, without the last."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in answer.text.split("\n\n") if line]
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


# Answers


def test_a_whole_answer_has_the_text_with_its_calls_and_without(running: Running):
    answer = running.complete()
    assert answer.status_code == 200
    body = answer.json()
    assert (body["object"], body["model"]) == ("text_completion", "tiny/model")
    (choice,) = body["choices"]
    assert (choice["text"], choice["finish_reason"]) == (ANSWER, "stop")
    assert choice["logprobs"] is None
    assert choice["toolformer"]["text_without_calls"] == ANSWER.replace(CALL, "")
    (call,) = choice["toolformer"]["calls"]
    assert call.pop("milliseconds") >= 0
    told = {"tool": "Calculator", "arguments": "6 * 7", "result": "42", "text": CALL}
    assert call == told | {"character_offset": 6, "undone": False}
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


def test_each_prompt_has_a_choice_and_calls_that_were_taken_back_have_a_reason(running: Running):
    body = running.complete(["6 * 7", "undo"]).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1]
    assert [choice["text"] for choice in body["choices"]] == [ANSWER, ANSWER.replace(CALL, "")]
    (call,) = body["choices"][1]["toolformer"]["calls"]
    assert (call["undone"], call["reason"], call["tool"]) == (True, "no_result", None)


def test_a_stream_has_the_calls_as_events_of_their_own(running: Running):
    *parts, last, usage = events(
        running.complete(stream=True, stream_options={"include_usage": True})
    )
    choices = [part["choices"][0] for part in parts]
    assert "".join(choice["text"] for choice in choices) == ANSWER
    assert {choice["finish_reason"] for choice in choices} == {None}
    (call,) = [choice for choice in choices if choice["toolformer"]]
    assert (call["text"], call["toolformer"]["call"]["result"]) == (CALL, "42")
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["choices"][0]["text"] == ""
    assert last["choices"][0]["toolformer"] == {"text_without_calls": " It is 42."}
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 5)
    assert len({part["id"] for part in parts}) == 1


def test_probabilities_of_tokens_and_of_calls_are_the_same_in_a_stream(running: Running):
    fields = {"logprobs": 2, "call_probabilities": True}
    (choice,) = running.complete(**fields).json()["choices"]
    tokens = choice["toolformer"]["tokens"]
    assert tokens[0] == {"text": " It", "kind": "sampled", "call_probability": 0.125}
    assert [token["kind"] for token in tokens[2:4]] == ["trigger", "forced"]
    logprobs = choice["logprobs"]
    assert "".join(logprobs["tokens"]) == ANSWER
    assert logprobs["token_logprobs"] == [-0.5, -0.5, -0.5, None, -0.5]
    # What is impossible is no infinity, which JSON does not have.
    assert logprobs["top_logprobs"][0] == {" It": -0.5, " other": -9999.0}
    assert logprobs["top_logprobs"][3] == {}
    assert len(logprobs["text_offset"]) == 5
    *parts, _last = events(running.complete(**fields, stream=True))
    streamed = [part["choices"][0] for part in parts]
    assert [one for part in streamed for one in part["toolformer"]["tokens"]] == tokens
    for name, values in logprobs.items():
        assert [value for part in streamed for value in part["logprobs"][name]] == values


def test_without_calls_in_the_text_they_are_listed_and_counted_all_the_same(running: Running):
    hidden = {"calls_in_text": False, "call_probabilities": True, "stream_options": None}
    body = running.complete(logprobs=0, **hidden).json()
    (choice,) = body["choices"]
    assert (choice["text"], choice["finish_reason"]) == (" It is 42.", "stop")
    assert choice["toolformer"]["text_without_calls"] == choice["text"]
    (call,) = choice["toolformer"]["calls"]
    assert (call["text"], call["character_offset"]) == (CALL, 6)
    assert len(choice["toolformer"]["tokens"]) == 5
    assert choice["logprobs"]["tokens"] == [" It", " is", " 42."]
    assert body["usage"]["completion_tokens"] == 5
    hidden["stream_options"] = {"include_usage": True}
    *parts, last, usage = events(running.complete(stream=True, **hidden))
    choices = [part["choices"][0] for part in parts]
    assert [choice["text"] for choice in choices] == [" It", " is", "", " 42."]
    assert choices[2]["toolformer"]["call"]["text"] == CALL
    assert last["choices"][0]["text"] == ""
    assert usage["usage"]["completion_tokens"] == 5


def test_the_server_decides_where_a_request_does_not_whether_calls_stand_in_texts():
    with serving(calls_in_text=False) as clean:
        assert clean.complete().json()["choices"][0]["text"] == " It is 42."
        assert clean.complete(calls_in_text=True).json()["choices"][0]["text"] == ANSWER
        (model,) = clean.client.get("/v1/models").json()["data"]
        assert model["toolformer"]["calls_in_text"] is False


def test_what_is_asked_for_is_what_the_batch_is_told(running: Running):
    calls = {"call_top_k": 2, "min_call_probability": 0.5, "max_calls": 3, "tools": ["Calendar"]}
    running.complete(model="tiny/model", max_tokens=3, stop=["!", "?"], logprobs=4, **calls)
    request = running.batch.requests[-1]
    decoding = request.settings.decoding
    assert (decoding.settings.max_new_tokens, decoding.settings.call_top_k) == (3, 2)
    assert (decoding.settings.max_calls, decoding.min_call_probability) == (3, (0.5, 0.5, {}))
    assert decoding.tools == ("Calendar",)
    assert (request.settings.stop_texts, request.settings.top_tokens) == (("!", "?"), 4)
    running.complete()
    decoding = running.batch.requests[-1].settings.decoding
    assert (decoding.settings.max_new_tokens, decoding.settings.max_calls) == (7, 1)
    assert decoding.min_call_probability == (0.25, 0.125, {})
    running.complete(min_call_probability={"Calendar": 0.5})
    decoding = running.batch.requests[-1].settings.decoding
    tools = ("Calculator", "Calendar")
    assert decoding.min_call_probability.at(1, tools) == {"Calculator": 0.25, "Calendar": 0.5}
    error = running.complete(min_call_probability={"Calender": 0.5}).json()["error"]
    assert (error["param"], "'Calender'" in error["message"]) == ("min_call_probability", True)
    assert decoding.tools == ("Calculator", "Calendar")
    (choice,) = running.complete(tools="off").json()["choices"]
    assert (choice["text"], choice["toolformer"]["calls"]) == (" It is 42.", [])
    assert running.batch.requests[-1].settings.decoding.is_disabled


def test_the_calendar_takes_the_day_that_is_given(running: Running):
    from tools.protocol import ToolCall

    running.complete(today="2024-05-31")
    assert "May 31, 2024" in (running.batch.requests[-1].run_call(ToolCall("Calendar", "")) or "")
    running.complete()
    present = datetime.datetime.now().astimezone().strftime("%Y")
    assert present in (running.batch.requests[-1].run_call(ToolCall("Calendar", "")) or "")


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0, "n": 1, "best_of": 1, "presence_penalty": 0.0, "logit_bias": {}},
        {"temperature": None, "suffix": None, "stop": None, "max_tokens": None, "tools": None},
        {"top_p": 0.5, "seed": -3, "user": "me", "echo": False},
        {"stop": "42", "logprobs": 0},
    ],
)
def test_fields_that_ask_for_greedy_decoding_are_taken(running: Running, fields: dict):
    assert running.complete(**fields).status_code == 200


@pytest.mark.parametrize("prompt", ["", "\x00\x1b[31m\x7f", "ü 🦉 \u202e", "a\r\ndata: x\n\n"])
def test_any_text_is_a_prompt(running: Running, prompt: str):
    assert running.complete(prompt).json()["choices"][0]["text"] == ANSWER
    assert running.batch.requests[-1].prompt == prompt


# What else is there


def test_the_page_is_served_with_a_policy_that_keeps_others_out(running: Running):
    answer = running.client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    for path in ("/../app.py", "/%2e%2e/app.py", "//etc/passwd", "/__init__.py"):
        assert running.client.get(path).status_code == 404
    assert "min_call_probability" in running.client.get("/openapi.json").text


def test_models_are_described_with_their_tools(running: Running):
    answer = running.client.get("/v1/models").json()
    (model,) = answer["data"]
    assert (answer["object"], model["id"], model["object"]) == ("list", "tiny/model", "model")
    said = model["toolformer"]
    assert said["tools"] == ["Calculator", "Calendar"]
    assert "no index" in said["unavailable"]["QA"]
    assert (said["min_call_probability"], said["max_tokens"]) == (0.25, 512)
    assert said["min_call_probability_behind_prompt"] == 0.125
    assert running.client.get("/v1/models/tiny/model").json() == model


def test_a_model_is_described_with_what_it_was_measured_to_get_right():
    examples = [("Calculator", "36 * 45 ="), ("QA", "Oslo is in")]
    with serving(examples=examples) as measured:
        (model,) = measured.client.get("/v1/models").json()["data"]
    assert model["toolformer"]["examples"] == [
        {"tool": tool, "text": text} for tool, text in examples
    ]
