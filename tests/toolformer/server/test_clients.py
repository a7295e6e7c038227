"""Clients: those that people use, and those that leave."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.conftest import happens
from tests.toolformer.server.fake_engine import ANSWER, FakeBatch
from tests.toolformer.server.serving import Running, serving

MODEL = "tiny/model"
QUESTION = {"role": "user", "content": "6 * 7"}
TEXT = "It is 42."
# As Open WebUI sends it in 2026: the question, the title of the chat when it is answered, a
# regenerated answer with parameters, and further words with a file's text. Then what LlamaIndex
# sends unasked.
CHATS: dict[str, dict[str, Any]] = {
    "question": {
        "stream": True,
        "messages": [{"role": "system", "content": "Be brief."}, QUESTION],
        "stream_options": {"include_usage": True},
    },
    "title": {"stream": False, "messages": [QUESTION], "max_completion_tokens": 1000},
    "parameters": {
        "stream": True,
        "messages": [QUESTION],
        "temperature": 0.8,
        "top_p": 0.9,
        "max_tokens": 128,
        "frequency_penalty": 0.0,
        "seed": 42,
        "stop": ["\n\n\n"],
    },
    "further words": {
        "stream": True,
        "messages": [
            QUESTION,
            {"role": "assistant", "content": TEXT},
            {"role": "user", "content": [{"type": "text", "text": "<context>…</context>\nAnd?"}]},
        ],
        "metadata": {"task": None},
        "chat_id": "f3c2",
        "session_id": "Xk",
        "id": "9a1d",
    },
    "LlamaIndex": {"messages": [QUESTION], "temperature": 0.1, "max_tokens": 256, "stream": False},
}


@pytest.fixture
def address(running: Running) -> str:
    return f"{running.client.base_url}/v1"


@pytest.mark.parametrize("sent", CHATS.values(), ids=CHATS)
def test_chats_of_programs_are_answered(running: Running, sent: dict[str, Any]):
    answer = running.chat(model=MODEL, **sent)
    assert answer.status_code == 200, answer.text
    assert "tool_calls" not in answer.text
    assert answer.text.endswith("data: [DONE]\n\n") is sent["stream"]
    assert running.batch.requests[-1].settings.temperature == sent.get("temperature", 0)


def test_lm_evaluation_harness_is_answered(running: Running):
    # As 0.4.13 asks for a task that generates texts; for two questions at once.
    sent = {"prompt": ["6 * 7", "6 * 7"], "model": MODEL, "max_tokens": 20, "temperature": 0}
    answer = running.complete(**sent, stop=["!", "\n\n"], seed=1234)
    assert answer.status_code == 200, answer.text
    assert [choice["text"] for choice in answer.json()["choices"]] == [ANSWER] * 2


def test_openai_completes_and_reads_errors(address: str):
    openai = pytest.importorskip("openai", reason="needs the extra `clients`")
    with openai.OpenAI(base_url=address, api_key="none", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == [MODEL]
        assert client.models.retrieve(MODEL).owned_by == "toolformer"
        asked = {"model": MODEL, "prompt": "6 * 7", "temperature": 0}
        whole = client.completions.create(**asked, logprobs=2, extra_body={"max_calls": 1})
        assert whole.choices[0].text == ANSWER
        assert whole.choices[0].logprobs.token_logprobs[0] == -0.5
        assert whole.choices[0].toolformer["calls"][0]["result"] == "42"
        *parts, last = client.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        )
        assert "".join(part.choices[0].text for part in parts) == ANSWER
        assert last.usage.prompt_tokens == 3
        with pytest.raises(openai.BadRequestError) as caught:
            client.completions.create(**{**asked, "n": 2})
        assert caught.value.param == "n"
        with pytest.raises(openai.APIError, match="The server failed"):
            list(client.completions.create(**{**asked, "prompt": "fail"}, stream=True))


def test_openai_chats_and_sends_answers_back(address: str):
    openai = pytest.importorskip("openai", reason="needs the extra `clients`")
    with openai.OpenAI(base_url=address, api_key="none", max_retries=0) as client:
        asked = {"model": MODEL, "messages": [QUESTION]}
        whole = client.chat.completions.create(**asked, logprobs=True, top_logprobs=2)
        (choice,) = whole.choices
        assert (choice.message.content, choice.message.tool_calls) == (TEXT, None)
        assert choice.finish_reason == "stop"
        assert choice.toolformer["calls"][0]["result"] == "42"
        assert choice.logprobs.content[0].logprob == -0.5
        *parts, last = client.chat.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        )
        text = "".join(part.choices[0].delta.content or "" for part in parts)
        assert (text, last.usage.completion_tokens) == (TEXT, 5)
        with client.chat.completions.stream(**asked) as stream:
            assert stream.get_final_completion().choices[0].message.content == TEXT
        again = client.chat.completions.create(
            model=MODEL, messages=[QUESTION, choice.message, QUESTION]
        )
        assert again.choices[0].message.content == TEXT
        functions = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
        with pytest.raises(openai.BadRequestError, match="names of our tools"):
            client.chat.completions.create(**asked, tools=functions)


@pytest.fixture
def litellm(monkeypatch) -> Iterator[Any]:
    """With an event loop and connections that are closed; its own it would leave open."""
    # Prices are looked up on the net otherwise.
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    module = pytest.importorskip("litellm", reason="needs the extra `clients`")
    import httpx

    with closing(asyncio.new_event_loop()) as loop, httpx.Client() as session:
        asyncio.set_event_loop(loop)
        monkeypatch.setattr(module, "client_session", session)
        yield module
        asyncio.set_event_loop(None)


# Those of its import.
@pytest.mark.filterwarnings("ignore")
def test_litellm_answers_streams_and_finds_no_calls_to_make(address: str, litellm: Any):
    asked = {"model": f"openai/{MODEL}", "api_base": address, "api_key": "none"}
    asked |= {"messages": [QUESTION], "temperature": 0.7, "top_p": 0.9, "seed": 1}
    (choice,) = litellm.completion(**asked).choices
    assert (choice.message.content, choice.message.tool_calls) == (TEXT, None)
    assert choice.finish_reason == "stop"
    parts = list(litellm.completion(**asked, stream=True))
    assert "".join(part.choices[0].delta.content or "" for part in parts) == TEXT
    assert parts[-1].choices[0].finish_reason == "stop"
    asked["messages"] = [QUESTION, choice.message.model_dump(), QUESTION]
    assert litellm.completion(**asked).choices[0].message.content == TEXT


def test_langchain_answers_streams_and_finds_no_calls_to_make(running: Running, address: str):
    langchain = pytest.importorskip("langchain_openai", reason="needs the extra `clients`")
    options = {"model": MODEL, "base_url": address, "api_key": "none", "max_retries": 0}
    chat = langchain.ChatOpenAI(**options, temperature=0.7, max_tokens=20)
    message = chat.invoke("6 * 7")
    assert (message.content, message.tool_calls) == (TEXT, [])
    assert message.usage_metadata["output_tokens"] == 5
    assert "".join(part.content for part in chat.stream("6 * 7")) == TEXT
    assert chat.invoke([("user", "6 * 7"), message, ("user", "8?")]).content == TEXT
    # A default temperature samples between live calls.
    assert langchain.OpenAI(**options).invoke("6 * 7") == ANSWER
    settings = running.batch.requests[-1].settings
    assert (settings.temperature, settings.decoding.tools) == (0.7, ("Calculator", "Calendar"))


# Those that leave


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
