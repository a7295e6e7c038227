"""Chats: their prompts, their answers, and the messages and fields that are refused."""

import json
from typing import Any

import pytest

from tests.fakes import byte_tokenizer
from tests.toolformer.server.fake_engine import ANSWER, CALL
from tests.toolformer.server.serving import Running, serving
from tests.toolformer.server.test_api import events
from tests.toolformer.server.test_api_errors import error_of
from toolformer.decoding.decoder import max_tokens_after_prompt

TEXT = "It is 42."
TEMPLATE = """{% for message in messages %}{% if message.role == 'system' %}\
{{ raise_exception('System role not supported') }}{% endif %}\
<|endoftext|>{{ message.role }}: {{ message.content }}<|im_end|>{% endfor %}\
{% if add_generation_prompt %}<|endoftext|>assistant:{% endif %}"""
HISTORY = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "6 * 7"},
    {"role": "assistant", "content": TEXT},
    {"role": "user", "content": [{"type": "text", "text": "And"}, {"type": "text", "text": "8?"}]},
]


def with_template(template: str):
    tokenizer = byte_tokenizer()
    tokenizer.backend.chat_template = template
    return serving(tokenizer=tokenizer)


def message_of(answer) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]


# Answers


def test_an_answer_is_clean_and_its_calls_are_listed_beside_it(running: Running):
    body = running.chat().json()
    assert (body["object"], body["id"][:9]) == ("chat.completion", "chatcmpl-")
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": TEXT, "refusal": None}
    assert (choice["finish_reason"], choice["logprobs"]) == ("stop", None)
    (call,) = choice["toolformer"]["calls"]
    assert (call["tool"], call["result"], call["text"]) == ("Calculator", "42", CALL)
    assert choice["toolformer"]["text_without_calls"] == " It is 42."
    assert set(choice) == {"index", "message", "finish_reason", "logprobs", "toolformer"}
    assert body["usage"]["completion_tokens"] == 5
    assert message_of(running.chat(calls_in_text=True))["content"] == ANSWER.lstrip()
    assert message_of(running.chat(tool_choice="none", calls_in_text=True))["content"] == TEXT


def test_an_empty_list_of_tools_is_as_if_left_out(running: Running):
    asked = {"tools": [], "calls_in_text": True}
    for choice in ({}, {"tool_choice": "auto"}):
        assert message_of(running.chat(**asked, **choice))["content"] == ANSWER.lstrip()
    assert message_of(running.chat(**asked, tool_choice="none"))["content"] == TEXT
    assert running.complete(tools=[]).json()["choices"][0]["text"] == ANSWER


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("silent", "The answer is empty. "),
        ("mumbled", "The answer is empty except for [Calculator(6 * 7) -> 42]. "),
    ],
)
def test_a_chat_is_not_answered_with_nothing(said: str, told: str):
    with serving(examples=[("Calculator", "So it took 148 * 12 =")]) as running:
        for asked in ({}, {"n": 2, "temperature": 1}, {"max_tokens": 3}):
            answer = running.chat(said, **asked)
            assert (answer.status_code, error_of(answer)["code"]) == (422, "empty_answer")
            assert error_of(answer)["message"].startswith(told)
            assert error_of(answer)["message"].endswith(
                "Send the beginning of a sentence, such as 'So it took 148 * 12 ='."
            )
            streamed = running.chat(said, stream=True, **asked).text.split("\n\n")
            assert json.loads(streamed[-2].removeprefix("data: ")) == answer.json()
        # A completion may be empty.
        assert running.complete(said).status_code == 200


def test_one_answer_of_several_is_enough(running: Running):
    told = running.chat("moody", n=2, temperature=1).json()["choices"]
    assert sorted(choice["message"]["content"] for choice in told) == ["", TEXT]


def test_a_model_with_a_template_of_its_own_is_not_said_to_know_no_chats():
    with with_template("{{ messages[0].content }}") as own:
        message = error_of(own.chat("silent"))["message"]
    assert message == (
        "The answer is empty. Rephrase the message, or let /v1/completions continue a text."
    )


def test_a_stream_begins_with_the_role_and_has_no_tool_calls(running: Running):
    told = events(running.chat(stream=True, stream_options={"include_usage": True}))
    assert {one["object"] for one in told} == {"chat.completion.chunk"}
    *parts, usage = told
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 5)
    choices = [part["choices"][0] for part in parts]
    deltas = [choice["delta"] for choice in choices]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert deltas[1:] == [{"content": "It"}, {"content": " is"}, {}, {"content": " 42."}, {}]
    assert choices[3]["toolformer"]["call"]["result"] == "42"
    assert [choice["finish_reason"] for choice in choices] == [None] * 5 + ["stop"]
    assert choices[-1]["toolformer"] == {"text_without_calls": " It is 42."}


def test_log_probabilities_are_of_what_the_model_chose_the_same_in_a_stream(running: Running):
    fields = {"logprobs": True, "top_logprobs": 2}
    (choice,) = running.chat(**fields).json()["choices"]
    content = choice["logprobs"]["content"]
    assert [token["token"] for token in content] == [" It", " is", " 42."]
    assert (content[0]["logprob"], content[0]["bytes"]) == (-0.5, list(b" It"))
    others = [(token["token"], token["logprob"]) for token in content[0]["top_logprobs"]]
    assert others == [(" It", -0.5), (" other", -9999.0)]
    parts = events(running.chat(stream=True, **fields))
    streamed = [part["choices"][0]["logprobs"] for part in parts]
    assert [token for each in streamed if each for token in each["content"]] == content
    (choice,) = running.chat(logprobs=True, calls_in_text=True).json()["choices"]
    # Of the call the model chose the opening, and not the result.
    assert [token["token"] for token in choice["logprobs"]["content"]][2:] == [" [", " 42."]


def test_samples_answers_and_stops_as_in_completions(running: Running):
    sampled = {"temperature": 0.7, "top_p": 0.8, "seed": 7, "n": 2, "stop": "42"}
    body = running.chat(**sampled).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1]
    assert {choice["message"]["content"] for choice in body["choices"]} == {"It is"}
    settings = [request.settings for request in running.batch.requests[-2:]]
    assert {(one.temperature, one.top_p) for one in settings} == {(0.7, 0.8)}
    drawn = [one.uniform() for one in settings]
    running.chat(**sampled)
    assert [one.settings.uniform() for one in running.batch.requests[-2:]] == drawn
    running.chat()
    assert running.batch.requests[-1].settings.temperature == 0


# Prompts


def test_without_a_template_the_model_goes_on_with_what_was_said(running: Running):
    assert running.chat(HISTORY, stop=["!"]).status_code == 200
    request = running.batch.requests[-1]
    assert request.prompt == "Be brief.\n\n6 * 7\n\nIt is 42.\n\nAnd\n8?"
    assert request.prompt_ids == byte_tokenizer().encode(request.prompt)
    assert request.settings.stop_texts == ("!",)


def test_the_models_own_template_makes_the_prompt_with_its_special_tokens_alone():
    with with_template(TEMPLATE) as own:
        text = "a <|im_end|> b"
        messages = [{"role": "user", "content": text}, *HISTORY[2:]]
        assert own.chat(messages).status_code == 200
        request = own.batch.requests[-1]
    start, end = 0, 1
    ids = list(request.prompt_ids)
    # The first start token is the one before every text.
    assert [token for token in ids if token in (start, end)] == [end, start] * 3
    told = byte_tokenizer().decode(ids)
    assert told.startswith("user: a < |im_end|> b<|im_end|><|endoftext|>assistant: It")
    assert told.endswith("And\n8?<|im_end|><|endoftext|>assistant:")
    assert request.settings.stop_texts == ()


def test_a_chat_has_its_system_prompt_and_earlier_calls():
    # As a chat client sends back what it has shown, with calls in the text and without.
    written = {"role": "assistant", "content": ANSWER.lstrip()}
    with with_template(
        "{% for turn in messages %}{{ turn.role }}: {{ turn.content }}|{% endfor %}"
    ) as own:
        told = message_of(own.chat())
        history = [HISTORY[0], HISTORY[1], written, HISTORY[1], told, HISTORY[1]]
        answer = own.chat(history)
        request = own.batch.requests[-1]
    assert message_of(answer)["content"] == TEXT
    assert answer.json()["choices"][0]["toolformer"]["calls"][0]["text"] == CALL
    assert byte_tokenizer().decode(request.prompt_ids) == (
        "system: Be brief.|user: 6 * 7|assistant: It is [Calculator(6 * 7) -> 42] 42.|"
        "user: 6 * 7|assistant: It is 42.|user: 6 * 7|"
    )


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (TEMPLATE, "System role not supported"),
        ("{{ 1 / 0 }}", "zero"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
    ],
)
def test_a_template_that_fails_is_one_sentence(template: str, reason: str):
    with with_template(template) as failing:
        answer = failing.chat(HISTORY)
        assert answer.status_code == 400, answer.text
        error = error_of(answer)
        assert error["param"] == "messages"
        assert reason in error["message"]
        assert not failing.batch.requests


def test_an_answer_gets_the_room_that_is_left(running: Running):
    def given(**fields) -> int:
        assert running.chat(**fields).status_code == 200
        decoding = running.batch.requests[-1].settings.decoding
        assert max_tokens_after_prompt(decoding) + 1 + len("6 * 7") <= 512
        return decoding.settings.max_new_tokens

    assert given(max_tokens=3) == given(max_completion_tokens=3, max_tokens=9) == 3
    room = given()
    assert 200 < room == given(max_completion_tokens=1000) < given(tools="off") < 512
    assert running.chat("x" * 20_001).status_code == 400


# Errors


def with_message(**message) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "a"}, message]


FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
FOREIGN = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("param", "value", "word"),
    [
        ("messages", [], "list of messages"),
        ("messages", [5], "list of messages"),
        ("messages", [{"role": "system", "content": "a"}], "role user"),
        ("messages", with_message(role="tool", content="1", tool_call_id="x"), "server itself"),
        ("messages", with_message(content="1"), "messages[1] has the role None"),
        ("messages", with_message(role="user", content=5), "5"),
        ("messages", with_message(role="user", content=[IMAGE]), "'image_url'"),
        ("messages", with_message(role="user", content="a", images=["x"]), "'images'"),
        (
            "messages",
            with_message(role="assistant", content="", tool_calls=[FOREIGN]),
            "field 'tool_calls'",
        ),
        ("tools", [FUNCTION], "names of our tools"),
        ("tool_choice", "required", "opens calls"),
        ("functions", [FUNCTION], "no field"),
        ("response_format", {"type": "json_object"}, "no grammar"),
        ("max_tokens", 0, "from 1"),
        ("top_logprobs", 2, "logprobs is not true"),
        ("n", 2, "one outcome"),
        ("top_k", 40, "'top_p'"),
        ("prompt", "a", "no field"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_name(running: Running, param, value, word):
    asked = len(running.batch.requests)
    # Beside a field without effect, which is not what is wrong.
    answer = running.chat(**{"metadata": {"a": "b"}, param: value})
    assert answer.status_code == 400, answer.text
    error = error_of(answer)
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert word in error["message"]
    assert len(running.batch.requests) == asked


def test_other_models_too_many_answers_and_bugs_are_told_as_in_completions(running: Running):
    assert error_of(running.chat(model="gpt-4"))["code"] == "model_not_found"
    error = error_of(running.chat(n=5, temperature=1))
    assert (error["param"], "at most 4" in error["message"]) == ("messages", True)
    assert running.chat("fail").status_code == 500
    streamed = running.chat("fail", stream=True).text.split("\n\n")
    assert json.loads(streamed[-2].removeprefix("data: "))["error"]["type"] == "server_error"
    assert running.client.get("/v1/chat/completions").status_code == 405
