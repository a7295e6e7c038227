"""Answers of a real model: samples, log-probabilities, calls, stop texts."""

import itertools
import json

import pytest
import torch

from tests.fakes import taught_model, tiny_model
from tests.toolformer.server.serving import serving_model

pytestmark = pytest.mark.slow

TEXT = "Half é of 🎉 [QA(9) -> 4.5] is 4.5."
CALL = " [Calculator(6 * 7) -> 42]"
LESSON = f"6 times 7 is{CALL} 42."


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def client(model):
    with serving_model(model) as client:
        yield client


def asked(client, prompt, **fields) -> list[dict]:
    answer = client.post("/v1/completions", json={"prompt": prompt, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"]


def log_probabilities(model, prompt: str) -> torch.Tensor:
    """Of the first token behind a prompt."""
    ids = [[model.bos_id, *model.tokenizer.encode(prompt)]]
    with torch.inference_mode():
        return model.model(torch.tensor(ids), use_cache=False).logits[0, -1].log_softmax(dim=-1)


def test_samples_follow_the_seed_and_have_the_models_own_log_probabilities(model, client):
    # Long enough that the model reads the prompt once for all texts.
    fields = {"temperature": 1.5, "tools": "off", "max_tokens": 6}
    choices = asked(client, TEXT * 2, n=3, seed=5, logprobs=0, **fields)

    def texts(**changed) -> list[str]:
        return [choice["text"] for choice in asked(client, TEXT * 2, **fields | changed)]

    told = [choice["text"] for choice in choices]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert told == texts(n=3, seed=5) != texts(n=3, seed=6)
    # Their seeds count up, so that samples asked for together are those of as many requests.
    assert texts(seed=5) + texts(seed=7) == told[::2]
    assert len(set(told)) == 3
    # Those of the model's own distribution, before the temperature.
    first = choices[0]["logprobs"]
    expected = log_probabilities(model, TEXT * 2)
    named = [
        token
        for token in range(len(expected))
        if model.tokenizer.token_text(token) == first["tokens"][0]
    ]
    values = [float(expected[token]) for token in named]
    assert min(abs(first["token_logprobs"][0] - value) for value in values) < 1e-4


def test_samples_have_live_calls_and_no_bracket_that_opens_none():
    fields = {"n": 4, "seed": 3, "max_tokens": 12, "logprobs": 0, "calls_in_text": False}
    with serving_model(taught_model([LESSON])) as client:
        cold = asked(client, LESSON[:6], temperature=0.01, **fields)
        warm = asked(client, LESSON[:6], temperature=1.5, **fields)
        # Likely at its place, but never likely enough to open a call.
        shut = {"temperature": 1, "min_call_probability": 0.9999999}
        without = asked(client, LESSON[:6], **shut, **fields)
        own = asked(client, LESSON[:6], temperature=1, tools="off", **fields)
    assert {choice["text"] for choice in cold} == {"s 7 is 42."}
    calls = [call for choice in cold for call in choice["toolformer"]["calls"]]
    assert {call["text"] for call in calls} == {CALL}
    assert len(calls) == 4
    assert len({choice["text"] for choice in warm}) > 1
    assert [" [" in choice["logprobs"]["tokens"] for choice in without] == [False] * 4
    assert any(" [" in choice["logprobs"]["tokens"] for choice in own)


def test_cold_samples_are_the_likeliest_tokens_an_opening_bracket_included(model, client):
    (opening,) = model.tokenizer.encode_continuation(" [")

    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 "
    pairs = map("".join, itertools.product(letters, repeat=2))
    text = next(text for text in pairs if log_probabilities(model, text).argmax() == opening)
    cold = {"temperature": 0.01, "tools": "off", "max_tokens": 1}
    assert asked(client, text, **cold)[0]["text"] == " ["
    assert asked(client, text, **cold | {"temperature": 0})[0]["text"] != " ["


def test_chats_are_decoded_behind_the_same_prompt_whole_and_streamed(client):
    def answers(**fields) -> list[str]:
        sent = {"messages": [{"role": "user", "content": "Half"}], "max_tokens": 8, **fields}
        answer = client.post("/v1/chat/completions", json=sent)
        assert answer.status_code == 200, answer.text
        return [choice["message"]["content"] for choice in answer.json()["choices"]]

    greedy = asked(client, "Half", max_tokens=8)[0]["text"]
    assert answers() == answers(temperature=2, top_p=0) == [greedy.lstrip()]
    warm = {"temperature": 2, "seed": 3, "n": 3}
    assert answers(**warm, top_p=0) == [greedy.lstrip()] * 3
    drawn = answers(**warm, top_p=0.9)
    assert drawn == answers(**warm, top_p=0.9) != answers(**warm)
    assert len(set(drawn)) == 3
    sent = {"messages": [{"role": "user", "content": "Half"}], "max_tokens": 8, "stream": True}
    streamed = client.post("/v1/chat/completions", json={**sent, **warm, "top_p": 0.9}).text
    told = [json.loads(line[6:]) for line in streamed.split("\n\n") if line.startswith("data: {")]
    texts = ["", "", ""]
    for choice in (one["choices"][0] for one in told):
        texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts == drawn


@pytest.mark.parametrize("stop", [None, "lx", "é of x", "lé x"])
@pytest.mark.parametrize("calls_in_text", [True, False])
def test_offsets_of_tokens_are_places_in_the_text_whatever_may_stop_it(stop, calls_in_text):
    lesson = f"Half é of all é is{CALL} 42."
    fields = {"logprobs": 0, "max_tokens": 30, "stop": stop, "calls_in_text": calls_in_text}
    with serving_model(taught_model([lesson])) as client:
        (choice,) = asked(client, lesson[:3], call_top_k=1, min_call_probability=0, **fields)
    told = choice["logprobs"]
    written = lesson if calls_in_text else "Half é of all é is 42."
    assert "Hal" + choice["text"] == written
    assert told["tokens"].count("\N{REPLACEMENT CHARACTER}") == 4
    for token, offset in zip(told["tokens"], told["text_offset"], strict=True):
        is_part = token == "\N{REPLACEMENT CHARACTER}"
        assert choice["text"][offset:].startswith("é" if is_part else token)


def test_a_stop_text_ends_an_answer_and_its_tokens_keep_their_log_probabilities():
    with serving_model(taught_model([LESSON])) as client:
        (stopped,) = asked(client, LESSON[:6], stop=[" is"], logprobs=0, tools="off")
    assert (stopped["text"], stopped["finish_reason"]) == (LESSON[6:9], "stop")
    assert "".join(stopped["logprobs"]["tokens"]) == LESSON[6:12]
