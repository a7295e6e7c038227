"""Chats as programs ask for them, whose form none of them takes for calls that it must make."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.toolformer.server.serving import Running

MODEL = "tiny/model"
QUESTION = {"role": "user", "content": "6 * 7"}
TEXT = "It is 42."


@pytest.fixture
def address(running: Running) -> str:
    return f"{running.client.base_url}/v1"


# As their versions of 2026 send it, in the order of a chat: the question, the title of the chat
# when it is answered, a regenerated answer with parameters, and further words with a file's text.
OPEN_WEBUI: dict[str, dict[str, Any]] = {
    "question": {
        "stream": True,
        "model": MODEL,
        "messages": [{"role": "system", "content": "Be brief."}, QUESTION],
        "stream_options": {"include_usage": True},
    },
    "title": {
        "model": MODEL,
        "messages": [{"role": "user", "content": "### Task:\nGenerate a concise title."}],
        "stream": False,
        "max_completion_tokens": 1000,
    },
    "parameters": {
        "stream": True,
        "model": MODEL,
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
        "model": MODEL,
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
}
# `ChatOpenAI`, LlamaIndex's `OpenAILike(is_chat_model=True)`, and LiteLLM's proxy.
OTHERS = {
    "LangChain": {"temperature": 0.7, "n": 1, "stream": False, "seed": None},
    "LlamaIndex": {"temperature": 0.1, "max_tokens": 256, "stream": False},
    "LiteLLM": {"stream": True, "stream_options": {"include_usage": True}, "user": "me"},
}


@pytest.mark.parametrize("sent", OPEN_WEBUI.values(), ids=OPEN_WEBUI)
def test_what_open_webui_sends_is_answered(running: Running, sent: dict[str, Any]):
    (model,) = running.client.get("/v1/models").json()["data"]
    assert sent["model"] == model["id"]
    answer = running.client.post("/v1/chat/completions", json=sent)
    assert answer.status_code == 200, answer.text
    assert "tool_calls" not in answer.text
    assert answer.text.endswith("data: [DONE]\n\n") is sent["stream"]


@pytest.mark.parametrize("sent", OTHERS.values(), ids=OTHERS)
def test_what_other_clients_send_unasked_is_answered(running: Running, sent: dict[str, Any]):
    answer = running.chat(model=MODEL, **sent)
    assert answer.status_code == 200, answer.text
    settings = running.batch.requests[-1].settings
    assert settings.temperature == sent.get("temperature", 0)


def test_the_official_client_answers_streams_and_sends_answers_back(address: str):
    openai = pytest.importorskip("openai", reason="needs the extra `clients`")
    with openai.OpenAI(base_url=address, api_key="none", max_retries=0) as client:
        asked = {"model": MODEL, "messages": [QUESTION]}
        whole = client.chat.completions.create(**asked, logprobs=True, top_logprobs=2)
        (choice,) = whole.choices
        assert (choice.message.content, choice.message.tool_calls) == (TEXT, None)
        assert choice.finish_reason == "stop"
        assert choice.toolformer["calls"][0]["result"] == "42"
        assert choice.logprobs.content[0].logprob == -0.5
        parts = list(
            client.chat.completions.create(
                **asked, stream=True, stream_options={"include_usage": True}
            )
        )
        text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
        assert (text, parts[-1].usage.completion_tokens) == (TEXT, 5)
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


def test_langchain_answers_streams_and_finds_no_calls_to_make(address: str):
    langchain = pytest.importorskip("langchain_openai", reason="needs the extra `clients`")
    chat = langchain.ChatOpenAI(
        model=MODEL, base_url=address, api_key="none", temperature=0.7, max_tokens=20, max_retries=0
    )
    message = chat.invoke("6 * 7")
    assert (message.content, message.tool_calls) == (TEXT, [])
    assert message.usage_metadata["output_tokens"] == 5
    assert "".join(part.content for part in chat.stream("6 * 7")) == TEXT
    assert chat.invoke([("user", "6 * 7"), message, ("user", "8?")]).content == TEXT
