"""What a client learns of a real model: likelihoods of prompts, samples, and ids of tokens."""

import functools
import itertools
import json

import pytest
import torch

from tests.fakes import END, START, taught_model, tiny_model
from tests.toolformer.server.serving import serving_model

pytestmark = pytest.mark.slow

TEXT = "Half é of 🎉 [QA(9) -> 4.5] is 4.5."
LESSON = "6 times 7 is 42."


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def client(model):
    with serving_model(model) as client:
        yield client


@pytest.fixture
def ask(client):
    return functools.partial(asked, client)


def asked(client, prompt, **fields) -> dict:
    answer = client.post("/v1/completions", json={"prompt": prompt, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def log_probabilities(model, ids) -> list[float]:
    """Of all tokens but the first, by the engine's own losses."""
    places = [(0, place, token) for place, token in enumerate(ids[1:])]
    return [-loss for loss in model.losses_at([ids], places)]


def expected_everywhere(model, ids) -> torch.Tensor:
    with torch.inference_mode():
        return model.model(torch.tensor([ids]), use_cache=False).logits[0].log_softmax(dim=-1)


@pytest.mark.parametrize("max_tokens", [0, 1, 5])
def test_echo_has_the_engines_likelihoods_of_each_prompt_of_token_ids(model, ask, max_tokens):
    # The second needs more than one chunk of logits; calls are not made in it, nor behind it.
    prompts = [model.tokenizer.encode(TEXT), model.tokenizer.encode(TEXT * 6)]
    fields = {"echo": True, "logprobs": 2, "max_tokens": max_tokens, "temperature": 0}
    body = ask(prompts, **fields)
    assert body["usage"]["prompt_tokens"] == sum(map(len, prompts))
    for ids, choice in zip(prompts, body["choices"], strict=True):
        told = choice["logprobs"]
        assert {len(values) for values in told.values()} == {len(ids) + max_tokens}
        (first, *given), made = told["token_logprobs"][: len(ids)], told["token_logprobs"]
        assert (first, told["top_logprobs"][0]) == (None, None)
        assert given == pytest.approx(log_probabilities(model, ids), abs=1e-5)
        assert made[-1] is not None
        assert choice["toolformer"]["calls"] == []
        expected = expected_everywhere(model, ids)
        for place, top in enumerate(told["top_logprobs"][1 : len(ids)]):
            likeliest = expected[place].topk(2).values.tolist()
            assert sorted(top.values(), reverse=True)[0] == pytest.approx(likeliest[0], abs=1e-5)
            assert len(top) <= 3
        if max_tokens == 0:
            assert choice["text"] == model.tokenizer.decode(ids)
            assert choice["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] <= max_tokens * len(prompts)


def test_offsets_of_echoed_tokens_are_places_in_the_text(model, ask):
    (choice,) = ask(TEXT, echo=True, logprobs=0, max_tokens=0)["choices"]
    told = choice["logprobs"]
    assert choice["text"] == TEXT
    assert len(told["tokens"]) == len(model.tokenizer.encode(TEXT)) > len(TEXT) - 8
    for token, offset in zip(told["tokens"], told["text_offset"], strict=True):
        assert TEXT[offset:].startswith(token) or token == "\N{REPLACEMENT CHARACTER}"
    assert told["text_offset"][-1] == len(TEXT) - 1
    # The given token alone, where no other is asked for.
    assert [len(top) for top in told["top_logprobs"][1:]] == [1] * (len(told["tokens"]) - 1)


def test_a_text_is_fed_behind_the_start_token_and_ids_as_they_are(model, ask):
    ids = model.tokenizer.encode(TEXT)
    fields = {"prompt_logprobs": 0, "max_tokens": 1, "return_token_ids": True}
    of_text, bare = ask(TEXT, **fields), ask(ids, **fields)
    behind_start = ask([model.bos_id, *ids], **fields)
    assert [each["usage"]["prompt_tokens"] for each in (of_text, bare, behind_start)] == [
        len(ids),
        len(ids),
        len(ids) + 1,
    ]
    (of_text,), (bare,), (behind_start,) = (
        each["choices"] for each in (of_text, bare, behind_start)
    )
    assert (of_text["prompt_token_ids"], bare["prompt_token_ids"]) == (ids, ids)
    assert of_text["prompt_logprobs"][1:] == behind_start["prompt_logprobs"][2:]
    assert of_text["prompt_logprobs"][0] is None
    assert of_text["prompt_logprobs"][1] != bare["prompt_logprobs"][1]
    assert of_text["token_ids"] == behind_start["token_ids"]


def test_nothing_is_told_of_the_tokens_of_an_empty_text(ask):
    (choice,) = ask("", echo=True, logprobs=1, prompt_logprobs=1, max_tokens=1)["choices"]
    assert choice["prompt_logprobs"] == []
    assert len(choice["logprobs"]["tokens"]) == 1


def test_prompt_logprobs_have_vllms_form(model, ask):
    ids = model.tokenizer.encode(TEXT)
    expected = expected_everywhere(model, ids)
    for count in (0, 3):
        (choice,) = ask(ids, prompt_logprobs=count, max_tokens=1)["choices"]
        assert choice["logprobs"] is None
        first, *places = choice["prompt_logprobs"]
        assert first is None
        for place, (token, told) in enumerate(zip(ids[1:], places, strict=True)):
            order = expected[place].argsort(descending=True).tolist()
            assert set(told) == {str(each) for each in (*order[:count], token)}
            for name, entry in told.items():
                assert entry["rank"] == order.index(int(name)) + 1
                assert entry["decoded_token"] == model.tokenizer.token_text(int(name))
                assert entry["logprob"] == pytest.approx(
                    float(expected[place, int(name)]), abs=1e-5
                )


def test_samples_follow_the_seed_and_tell_the_models_own_likelihoods(model, ask, monkeypatch):
    # Long enough that the texts' prompts are fed once for all.
    ids = model.tokenizer.encode(TEXT * 2)
    fields = {"temperature": 1.5, "tools": "off", "max_tokens": 6, "return_token_ids": True}
    body = ask(ids, n=3, seed=5, logprobs=0, **fields)
    again, other = ask(ids, n=3, seed=5, **fields), ask(ids, n=3, seed=6, **fields)
    first_alone, third_alone = (ask([ids], n=1, seed=seed, **fields) for seed in (5, 7))

    def told(body):
        return [choice["token_ids"] for choice in body["choices"]]

    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert told(body) == told(again) != told(other)
    # Their seeds count up, so that samples asked for together are those of as many requests.
    assert told(first_alone) + told(third_alone) == told(body)[::2]
    assert len({tuple(tokens) for tokens in told(body)}) == 3
    assert body["usage"]["prompt_tokens"] == len(ids)
    # What is known of their prompt is found out once.
    seen: list[int] = []
    given_tokens = model.given_tokens

    def counting(rows, **options):
        seen.append(len(rows))
        return given_tokens(rows, **options)

    monkeypatch.setattr(model, "given_tokens", counting, raising=False)
    scored = ask(ids, n=3, seed=5, prompt_logprobs=1, **fields)
    assert told(scored) == told(body)
    assert sum(seen) == 1
    assert len({str(choice["prompt_logprobs"]) for choice in scored["choices"]}) == 1
    assert len(scored["choices"][2]["prompt_logprobs"]) == len(ids)
    for choice in body["choices"]:
        tokens = choice["token_ids"]
        expected = log_probabilities(model, [*ids, *tokens])[len(ids) - 1 :]
        assert choice["logprobs"]["token_logprobs"] == pytest.approx(expected, abs=1e-4)


def test_samples_have_live_calls_and_no_bracket_that_opens_none():
    lesson = "6 times 7 is [Calculator(6 * 7) -> 42] 42."
    fields = {"n": 4, "seed": 3, "max_tokens": 12, "logprobs": 0, "calls_in_text": False}
    with serving_model(taught_model([lesson])) as client:
        cold = asked(client, lesson[:6], temperature=0.01, **fields)["choices"]
        warm = asked(client, lesson[:6], temperature=1.5, **fields)["choices"]
        # Likely at its place, but never likely enough to open a call.
        shut = {"temperature": 1, "min_call_probability": 0.9999999}
        without = asked(client, lesson[:6], **shut, **fields)["choices"]
        own = asked(client, lesson[:6], temperature=1, tools="off", **fields)["choices"]
    assert {choice["text"] for choice in cold} == {"s 7 is 42."}
    calls = [call for choice in cold for call in choice["toolformer"]["calls"]]
    assert {call["text"] for call in calls} == {" [Calculator(6 * 7) -> 42]"}
    assert len(calls) == 4
    assert len({choice["text"] for choice in warm}) > 1
    assert [" [" in choice["logprobs"]["tokens"] for choice in without] == [False] * 4
    assert any(" [" in choice["logprobs"]["tokens"] for choice in own)


def test_cold_samples_are_the_likeliest_tokens_an_opening_bracket_included(model, ask):
    (opening,) = model.tokenizer.encode_behind(" [")
    prompts = [list(ids) for ids in itertools.product(range(2, 30), repeat=2)]
    likeliest = {tuple(ids): int(expected_everywhere(model, ids)[-1].argmax()) for ids in prompts}
    cold = {"temperature": 0.01, "tools": "off", "max_tokens": 1, "return_token_ids": True}
    (ids,) = [ids for ids in prompts if likeliest[tuple(ids)] == opening][:1]
    assert ask(ids, **cold)["choices"][0]["token_ids"] == [opening]
    greedy = ask(ids, **cold | {"temperature": 0})
    assert greedy["choices"][0]["token_ids"] != [opening]


def test_chats_are_decoded_behind_the_same_prompt_whole_and_streamed(client):
    def answers(**fields) -> list[str]:
        sent = {"messages": [{"role": "user", "content": "Half"}], "max_tokens": 8, **fields}
        answer = client.post("/v1/chat/completions", json=sent)
        assert answer.status_code == 200, answer.text
        return [choice["message"]["content"] for choice in answer.json()["choices"]]

    greedy = asked(client, "Half", max_tokens=8)["choices"][0]["text"]
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


def test_listed_tokens_take_the_place_of_the_likeliest(model, ask):
    ids, listed = model.tokenizer.encode(TEXT), [9, 200, 31]
    fields = {"logprobs": 1, "logprob_token_ids": listed, "return_tokens_as_token_ids": True}
    (choice,) = ask(ids, max_tokens=1, return_token_ids=True, **fields)["choices"]
    expected = expected_everywhere(model, ids)[-1]
    (top,) = choice["logprobs"]["top_logprobs"]
    (token,) = choice["token_ids"]
    assert choice["logprobs"]["tokens"] == [f"token_id:{token}"]
    assert set(top) == {f"token_id:{each}" for each in (*listed, token)}
    for each in listed:
        assert top[f"token_id:{each}"] == pytest.approx(float(expected[each]), abs=1e-5)


def test_the_token_that_ends_a_text_and_those_of_a_stop_text_have_their_numbers():
    model = taught_model([LESSON])
    with serving_model(model) as client:
        fields = {"logprobs": 0, "return_token_ids": True, "max_tokens": 30, "tools": "off"}
        (ended,) = asked(client, LESSON[:6], **fields)["choices"]
        (stopped,) = asked(client, LESSON[:6], stop=[" is"], **fields)["choices"]
        # lm-evaluation-harness takes one token behind an echoed prompt for granted.
        (whole,) = asked(client, LESSON, echo=True, **fields | {"max_tokens": 1})["choices"]
    assert (ended["text"], ended["finish_reason"]) == (LESSON[6:], "stop")
    assert ended["logprobs"]["tokens"][-2:] == [".", END]
    assert ended["token_ids"] == [*model.tokenizer.encode_behind(LESSON[6:]), 1]
    assert (stopped["text"], stopped["finish_reason"]) == (LESSON[6:9], "stop")
    assert "".join(stopped["logprobs"]["tokens"]) == LESSON[6:12]
    assert len(stopped["token_ids"]) == len(stopped["logprobs"]["token_logprobs"])
    assert whole["logprobs"]["tokens"][-2:] == [".", END]
    assert whole["text"] == LESSON


def test_a_token_behind_a_part_of_no_character_begins_behind_it(model, ask):
    encode = model.tokenizer.encode
    ids = [*encode("é"), *encode("é")[:1], *encode("b 🎉c")]
    (choice,) = ask(ids, echo=True, logprobs=0, max_tokens=0)["choices"]
    assert choice["text"] == "é\N{REPLACEMENT CHARACTER}b 🎉c"
    assert choice["logprobs"]["text_offset"] == [0, 0, 1, 2, 3, 4, 4, 4, 4, 5]


@pytest.mark.parametrize("stop", [None, "lx", "é of x", "lé x"])
def test_offsets_of_written_tokens_are_places_in_the_text_whatever_may_stop_it(stop):
    lesson = "Half é of all é is 4."
    with serving_model(taught_model([lesson])) as client:
        fields = {"logprobs": 0, "max_tokens": 30, "tools": "off", "stop": stop}
        (choice,) = asked(client, lesson[:3], **fields)["choices"]
    told = choice["logprobs"]
    assert lesson[:3] + choice["text"] == lesson
    for token, offset in zip(told["tokens"], told["text_offset"], strict=True):
        is_part = token == "\N{REPLACEMENT CHARACTER}"
        assert (choice["text"] + END)[offset:].startswith("é" if is_part else token)


def test_of_what_follows_a_stop_text_across_a_call_nothing_is_told():
    call = " [Calculator(6 * 7) -> 42]"
    lesson = f"6 times 7 is{call} 42, twice{call} 42."
    fields = {"stop": "is 4", "calls_in_text": False, "max_calls": 2, "min_call_probability": 0}
    fields |= {"max_tokens": 30, "call_top_k": 1, "call_probabilities": True}
    with serving_model(taught_model([lesson])) as client:
        (choice,) = asked(client, lesson[:6], **fields)["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("s 7 ", "stop")
    ours = choice["toolformer"]
    # The call stands within the stop text, and so behind the end too.
    assert ours["calls"] == []
    assert "".join(each["text"] for each in ours["tokens"]) == f"s 7 is{call} 4"


def test_prompts_that_are_measured_and_texts_that_are_written_share_the_server(model, client, ask):
    alone = ask(TEXT, max_tokens=20)["choices"][0]["text"]
    ids = [model.tokenizer.encode(TEXT), model.tokenizer.encode(TEXT[:9])]
    body = {"prompt": TEXT, "max_tokens": 20, "stream": True}
    with client.stream("POST", "/v1/completions", json=body) as streamed:
        measured = ask(ids, echo=True, logprobs=0, max_tokens=0)["choices"]
        assert streamed.read().endswith(b"data: [DONE]\n\n")
    for row, choice in zip(ids, measured, strict=True):
        assert choice["logprobs"]["token_logprobs"][1:] == pytest.approx(
            log_probabilities(model, row), abs=1e-5
        )
    assert ask(TEXT, max_tokens=20)["choices"][0]["text"] == alone


def test_a_prompt_of_token_ids_may_fill_the_context_but_for_what_is_written(client):
    def status(length):
        body = {"prompt": [5] * length, "max_tokens": 2, "tools": "off"}
        return client.post("/v1/completions", json=body)

    assert status(510).status_code == 200
    refused = status(511)
    assert refused.status_code == 400
    assert "has 511 tokens. Expected at most 510" in refused.json()["error"]["message"]


def test_the_tokenizer_is_told_as_vllm_tells_it(model, client):
    info = client.get("/tokenizer_info").json()
    assert (info["bos_token"], info["eos_token"]) == (START, END)
    assert info["tokenizer_class"]
    assert client.get("/v1/tokenizer_info").json() == info
    for text, ids in ((TEXT, model.tokenizer.encode(TEXT)), (END, [1])):
        asked = {"prompt": text, "add_special_tokens": False}
        told = client.post("/tokenize", json=asked).json()
        assert told == {"count": len(ids), "max_model_len": 512, "tokens": ids}
        assert client.post("/detokenize", json={"tokens": ids}).json() == {"prompt": text}
    for path, body in (("/tokenize", {"prompt": 5}), ("/detokenize", {"tokens": [10**6]})):
        answer = client.post(path, json=body)
        assert answer.status_code == 400
        assert "Expected" in answer.json()["error"]["message"]
