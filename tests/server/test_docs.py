"""The examples of docs/serving.md, each run against a server."""

import json
import re
import subprocess
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.server.serving import serving

PAGE = (REPOSITORY / "docs" / "serving.md").read_text()
# A command, and what it answers where the page shows JSON.
EXAMPLES = re.findall(r"```bash\n(curl.*?)```(?:\n\n```json\n(.*?)```)?", PAGE, re.DOTALL)
STREAMED = "-sN"


@pytest.fixture(scope="module")
def address():
    with serving(name="toolformer") as running:
        yield f"http://127.0.0.1:{running.port}"


def shape(value: Any) -> Any:
    """Names and types; of a list the first item's."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items() if name != "unavailable"}
    if isinstance(value, list):
        return [shape(one) for one in value[:1]]
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


@pytest.mark.parametrize(("command", "shown"), EXAMPLES)
def test_an_example_answers_as_shown(address: str, command: str, shown: str):
    script = f"set -e\n{command}".replace("curl -s", "curl -f -s")
    done = subprocess.run(
        ["bash", "-c", script.replace("http://127.0.0.1:8000", address)],
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


def test_each_address_and_each_field_is_on_the_page():
    from toolformer_server.bodies import CompletionBody

    for path in (
        "/v1/completions",
        "/v1/models",
        "/v1/models/",
        "/health",
        "/metrics",
        "/",
        "/openapi.json",
    ):
        assert any(f"8000{path}" in command for command, _ in EXAMPLES), path
    for name in CompletionBody.model_fields:
        assert f"`{name}" in PAGE or name.endswith("_penalty"), name
