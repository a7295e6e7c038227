"""The examples of docs/serving.md, each run against a server, and the shapes that it shows."""

import json
import re
import subprocess
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.fakes import byte_tokenizer
from tests.toolformer.server.serving import Running, serving
from toolformer.server.bodies import CompletionBody
from toolformer.server.chat_bodies import IGNORED_FIELDS, ChatBody

PAGE = (REPOSITORY / "docs" / "serving.md").read_text()
# A command, and what it answers where the page shows JSON.
EXAMPLES = re.findall(r"```bash\n(curl.*?)```(?:\n\n```json\n(.*?)```)?", PAGE, re.DOTALL)
STREAMED = "-sN"


@pytest.fixture(scope="module")
def running():
    with serving(name="toolformer") as started:
        yield started


def shape(value: Any) -> Any:
    """Names and types; of a list the first item's."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value[:1]]
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


@pytest.mark.parametrize(("command", "shown"), EXAMPLES)
def test_an_example_answers_as_shown(running: Running, command: str, shown: str):
    script = f"set -e\n{command}".replace("curl -s", "curl -f -s")
    done = subprocess.run(
        ["bash", "-c", script.replace("http://127.0.0.1:8000", str(running.client.base_url))],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if shown:
        assert shape(json.loads(done.stdout)) == shape(json.loads(shown))
    if STREAMED in command:
        assert done.stdout.endswith("data: [DONE]\n\n")


def test_each_shape_on_the_page_is_that_of_an_answer(running: Running):
    # The blocks are those that are compared above.
    assert PAGE.count("```json") == sum(bool(shown) for _, shown in EXAMPLES) == 1
    (of_error,) = re.findall(r'`(\{"error[^`]+)`', PAGE)
    answer = running.complete(max_tokens=0).json()
    assert re.findall(r'"(\w+)"', of_error) == ["error", *answer["error"]]
    (of_health,) = re.findall(r"8000/health +# (.*)", PAGE)
    health = running.client.get("/health").json()
    assert re.findall(r"\w+", of_health.replace("and", "").replace("texts", "")) == [*health]
    (of_model,) = re.findall("A model is listed .*", PAGE)
    (model,) = running.client.get("/v1/models").json()["data"]
    assert ["tools", "unavailable", *re.findall(r"`(\w+)`", of_model)] == [*model["toolformer"]]
    (of_call,) = re.findall("If a tool gives no result.*", PAGE)
    (call,) = running.complete("undo").json()["choices"][0]["toolformer"]["calls"]
    told = {name for name, value in call.items() if value is not None}
    assert told == set(re.findall(r"`(\w+)`", of_call))


def test_each_address_and_each_field_is_on_the_page():
    addresses = ("completions", "chat/completions", "models", "models/")
    for path in (*(f"/v1/{name}" for name in addresses), "/health", "/", "/openapi.json"):
        assert any(f"8000{path}" in command for command, _ in EXAMPLES), path
    for name in (*CompletionBody.model_fields, *ChatBody.model_fields, *IGNORED_FIELDS):
        assert f"`{name}" in PAGE, name


def test_the_plain_prompt_of_a_chat_is_the_one_on_the_page():
    (shown,) = re.findall(r"```text\n(.*?)\n```", PAGE, re.DOTALL)
    turns = [("system", "Be brief."), ("user", "6 times 7 is")]
    messages = [{"role": role, "content": content} for role, content in turns]
    ((prompt, _),) = ChatBody(messages=messages).prompts(byte_tokenizer(), 0)
    assert prompt == shown
