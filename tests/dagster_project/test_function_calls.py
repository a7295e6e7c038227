"""`toolformer evaluate bfcl` against a server of chats that answers from a script, and a model."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.dagster_project.exports import records_of
from tests.fakes import save_taught_model
from toolformer.evaluation.function_calls import offered_tool
from toolformer.served import http_client
from toolformer.served.chat_client import ChatClient

PARAMETERS = {
    "type": "dict",
    "properties": {"base": {"type": "float"}, "unit": {"type": "string"}},
    "required": ["base"],
}
FUNCTION = {"name": "geometry.area", "description": "An area.", "parameters": PARAMETERS}
# What is wrong with the answers to the questions.
FAULTS = {
    "right": "",
    "other value": "wrong value: base",
    "no call": "no call",
    "two calls": "several calls",
}
ASKED = list(FAULTS)
TRUTH = {"geometry.area": {"base": [10.0], "unit": ["m", ""]}}


def called(*arguments: str) -> dict:
    functions = [{"name": "geometry_area", "arguments": each} for each in arguments]
    return {"content": None, "tool_calls": [{"function": each} for each in functions]}


MESSAGES = {
    "right": called('{"base": 10, "unit": "M"}'),
    "other value": called('{"base": 11}'),
    "no call": {"role": "assistant", "content": "It is 50."},
    "two calls": called('{"base": 10}', '{"base": 10}'),
}


class Chats(ThreadingHTTPServer):
    """Answers a question by its words, and keeps what it was asked."""

    daemon_threads = True
    answer: Callable[[str], tuple[int, Any]]
    bodies: list[dict]
    retry_after: str = ""
    keys: set[str | None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that ends breaks off what it asks."""


class _Handler(BaseHTTPRequestHandler):
    server: Any

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.bodies.append({"path": self.path, **body})
        self.server.keys.add(self.headers["authorization"])
        status, told = self.server.answer(body["messages"][0]["content"])
        content = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        if status != 200 and self.server.retry_after:
            self.send_header("retry-after", self.server.retry_after)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing: tests look at what was asked."""


@pytest.fixture
def chats() -> Iterator[Chats]:
    with Chats(("127.0.0.1", 0), _Handler) as server:
        server.answer = lambda asked: (200, {"choices": [{"message": MESSAGES[asked]}]})
        server.bodies, server.keys = [], set()
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.shutdown()


def lines(file: Path, *rows: dict) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def questions(tmp_path) -> Path:
    turns = {asked: [[{"role": "user", "content": asked}]] for asked in ASKED}
    rows = [{"id": asked, "question": turns[asked], "function": [FUNCTION]} for asked in ASKED]
    return lines(tmp_path / "simple_python.json", *rows)


@pytest.fixture
def answers(tmp_path) -> Path:
    rows = [{"id": asked, "ground_truth": [TRUTH]} for asked in ASKED]
    return lines(tmp_path / "answers.json", *rows)


def test_right_calls_are_counted_with_an_interval(
    chats: Chats, questions: Path, answers: Path, run, tmp_path, monkeypatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "s3cret")
    output = tmp_path / "rows.jsonl"
    options = ("--questions", questions, "--answers", answers, "--output", output)
    outcome = run("evaluate", "bfcl", "--url", chats.url, "--model", "mine", *options)
    assert outcome.code == 0, outcome.err
    told = "simple_python.json: 1 of 4 right, 25.0% (95 % interval 4.6% to 69.9%)"
    assert told in outcome.out
    assert "wrong value (1)" in outcome.out
    rows = {row["id"]: row for row in records_of(output)}
    assert {name: row["fault"] for name, row in rows.items()} == FAULTS
    assert rows["no call"]["content"] == "It is 50."
    assert rows["other value"]["calls"] == [{"name": "geometry_area", "arguments": '{"base": 11}'}]
    assert chats.keys == {"Bearer s3cret"}
    body = chats.bodies[0]
    assert (body["path"], body["model"]) == ("/v1/chat/completions", "mine")
    assert body["tools"][0]["function"]["name"] == "geometry_area"


def test_without_answers_it_is_right_to_call_nothing(chats: Chats, questions: Path, run):
    options = ("--url", f"{chats.url}/v1/", "--model", "mine", "--questions", questions)
    outcome = run("evaluate", "bfcl", *options, "--limit", 3)
    assert "1 of 3 right" in outcome.out
    assert "Wrong: a call (2)" in outcome.out
    assert len(chats.bodies) == 3


def test_a_refused_question_is_wrong_and_all_of_them_are_an_error(
    chats: Chats, questions: Path, answers: Path, run
):
    right, refusal = {"choices": [{"message": MESSAGES["right"]}]}, {"error": {"message": "long"}}
    chats.answer = lambda asked: (200, right) if asked == "right" else (400, refusal)
    options = ("--quiet", "--url", chats.url, "--model", "mine", "--questions", questions)
    outcome = run("evaluate", "bfcl", *options, "--answers", answers)
    assert "1 of 4 right" in outcome.out
    assert "refused (3)" in outcome.out
    chats.answer = lambda _: (404, {"error": {"message": "no such model"}})
    outcome = run("evaluate", "bfcl", *options)
    assert outcome.is_one_paragraph_naming("Every question was", "404 (no such model)")
    chats.answer = lambda _: (200, {"choices": []})
    outcome = run("evaluate", "bfcl", *options)
    assert outcome.is_one_paragraph_naming("not the form of OpenAI's chat completions")


def test_progress_is_shown_and_a_server_that_is_away_is_named_by_its_flag(
    chats: Chats, questions: Path, run, monkeypatch
):
    options = ("--model", "mine", "--questions", questions)
    outcome = run("evaluate", "bfcl", "--url", chats.url, *options)
    assert outcome.err.startswith("asking")
    told, asked = [], [{"messages": [{"content": each}]} for each in ASKED]
    with closing(ChatClient([chats.url], "mine")) as client:
        client.answers(asked, progress=lambda *counts: told.append(counts))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    monkeypatch.setattr(http_client, "_FIRST_PATIENCE", 0.1)
    outcome = run("evaluate", "bfcl", "--quiet", "--url", "http://127.0.0.1:9", *options)
    assert outcome.is_one_paragraph_naming("127.0.0.1:9/v1 does not answer", "(--url)")
    chats.answer = lambda _: (503, {"error": {"message": "busy"}})
    outcome = run("evaluate", "bfcl", "--quiet", "--url", chats.url, *options)
    assert outcome.is_one_paragraph_naming("answered 503 (busy). Run the same again later.")


@pytest.mark.parametrize(("answered", "status"), [(0, 429), (1, 503)], ids=["limit", "busy"])
def test_a_service_that_limits_requests_or_is_busy_for_a_while_is_waited_for(
    chats: Chats, monkeypatch, answered: int, status: int
):
    monkeypatch.setattr(http_client, "_FIRST_PATIENCE", 0.05)
    asked, opens = [{"messages": [{"content": each}]} for each in ASKED], time.monotonic() + 1

    def answer(content: str) -> tuple[int, Any]:
        if len(chats.bodies) > answered and time.monotonic() < opens:
            return status, {"error": {"message": "later"}}
        return 200, {"choices": [{"message": MESSAGES[content]}]}

    chats.answer = answer
    with closing(ChatClient([chats.url], "mine")) as client:
        for each in asked:
            assert "content" in client.answers([each], progress=lambda *_: None)[0]
    assert time.monotonic() > opens


QUOTA = {"message": "Check your plan.", "type": "insufficient_quota", "code": "insufficient_quota"}


@pytest.mark.parametrize(
    ("status", "error", "retry_after", "told"),
    [
        (429, QUOTA, "", "answered 429 (Check your plan)"),
        (402, {"message": "Add credits."}, "", "answered 402 (Add credits)"),
        (
            429,
            {"message": "Tomorrow."},
            "86400",
            "answered 429 (Tomorrow). It asks to wait 86,400 s",
        ),
        (401, {"message": "No such key."}, "", "OPENAI_API_KEY"),
    ],
    ids=["quota", "credits", "day", "key"],
)
def test_a_service_that_answers_no_more_ends_the_command_and_is_not_waited_for(
    chats: Chats, questions: Path, run, tmp_path, status, error, retry_after, told
):
    right = {"choices": [{"message": MESSAGES["right"]}]}
    chats.retry_after = retry_after
    chats.answer = lambda asked: (200, right) if asked == "right" else (status, {"error": error})
    options = ("--url", chats.url, "--model", "mine", "--questions", questions)
    outcome = run("evaluate", "bfcl", "--quiet", *options, "--output", tmp_path / "rows.jsonl")
    assert outcome.is_one_paragraph_naming(told)
    assert len(chats.bodies) <= len(ASKED)
    assert not (tmp_path / "rows.jsonl").exists()


@pytest.mark.parametrize(
    "refusal",
    [
        {"error": {"message": "later"}},
        {"message": "Tokens per minute limit exceeded", "code": "token_quota_exceeded"},
    ],
    ids=["later", "by the minute"],
)
def test_a_service_is_asked_again_when_it_says(chats: Chats, monkeypatch, refusal):
    monkeypatch.setattr(http_client, "_LONGEST_WAIT", 0.1)
    chats.retry_after, times = "1", []

    def answer(content: str) -> tuple[int, Any]:
        times.append(time.monotonic())
        if len(times) == 1:
            return 429, refusal
        return 200, {"choices": [{"message": MESSAGES[content]}]}

    chats.answer = answer
    with closing(ChatClient([chats.url], "mine")) as client:
        client.answers([{"messages": [{"content": "right"}]}], progress=lambda *_: None)
    assert times[1] - times[0] >= 1


def test_files_that_are_not_bfcls_are_told(
    chats: Chats, questions: Path, answers: Path, run, tmp_path
):
    options = ("evaluate", "bfcl", "--url", chats.url, "--model", "mine", "--questions")
    outcome = run(*options, answers)
    assert outcome.is_one_paragraph_naming("Record 1 of", "`question` and `function`")
    outcome = run(*options, questions, "--answers", questions)
    assert outcome.is_one_paragraph_naming("Record 1 of", "`ground_truth` of one call")
    first = lines(tmp_path / "first.json", {"id": "right", "ground_truth": [TRUTH]})
    outcome = run(*options, questions, "--answers", first)
    assert outcome.is_one_paragraph_naming("(3 are missing)", "possible_answer")
    outcome = run(*options, lines(tmp_path / "text.json", {"id": "a"}, {"id": "b"}))
    assert outcome.is_one_paragraph_naming("Record 1 of")
    assert chats.bodies == []


# Begins as the lessons do, with the start token.
TEMPLATE = (
    "{{ bos_token }}{% for t in tools %}{{ t.function.name }} {{ t.function.description }}"
    "{% endfor %}{% for m in messages %}|{{ m.role }}|{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}|assistant|{% endif %}"
)
SAID = {
    "right": '<think><tool_call>no</tool_call></think>Well. <tool_call>\n{"name": "geometry_area", '
    '"arguments": {"base": 10, "unit": "M"}}\n</tool_call>',
    "other value": '<tool_call>{"name": "geometry_area", "arguments": {"base": 11}}',
    "no call": "It is <tool_call>50</tool_call>.",
    "two calls": '<tool_call>{"name": "geometry_area", "arguments": "{}"}</tool_call>' * 2,
}


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory) -> Path:
    """A model that answers the questions by heart."""
    told = offered_tool(FUNCTION)["function"]
    opening = f"{told['name']} {told['description']}|user|"
    lessons = [f"{opening}{asked}|assistant|{said}" for asked, said in SAID.items()]
    folder = save_taught_model(tmp_path_factory.mktemp("models") / "chats", lessons)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.mark.slow
def test_a_model_in_a_directory_is_asked_by_its_own_template(
    chat_model: Path, questions: Path, answers: Path, run, tmp_path
):
    output = tmp_path / "rows.jsonl"
    options = ("--questions", questions, "--answers", answers, "--output", output)
    outcome = run("evaluate", "bfcl", "--model", chat_model, *options)
    assert outcome.code == 0, outcome.err
    assert "simple_python.json: 1 of 4 right" in outcome.out
    rows = {row["id"]: row for row in records_of(output)}
    assert {name: row["fault"] for name, row in rows.items()} == FAULTS
    assert rows["right"]["content"] == "Well."
    assert json.loads(rows["right"]["calls"][0]["arguments"]) == {"base": 10, "unit": "M"}


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "writes no tools"),
        (TEMPLATE.replace(" {{ t.function.description }}", ""), "writes no tools"),
        (TEMPLATE.replace("tool_call>", "call>"), "writes a call as '|assistant|<call>"),
        ("{{ raise_exception('Only texts.') }}", "refuses a call (Only texts)"),
    ],
)
def test_a_template_without_tools_or_with_calls_of_another_form_is_refused(
    chat_model: Path, questions: Path, run, tmp_path, template: str, named: str
):
    folder = Path(shutil.copytree(chat_model, tmp_path / "model"))
    (folder / "chat_template.jinja").write_text(template)
    outcome = run("evaluate", "bfcl", "--model", folder, "--questions", questions)
    assert outcome.is_one_paragraph_naming(named, "--tool-call-parser", "--url")


def test_a_name_without_an_address_is_no_directory(questions: Path, run):
    outcome = run("evaluate", "bfcl", "--model", "mine", "--questions", questions)
    assert outcome.is_one_paragraph_naming("There is no directory 'mine'", "--url")


@pytest.mark.slow
def test_a_question_that_is_too_long_for_the_model_is_refused(
    chat_model: Path, questions: Path, run, tmp_path
):
    turns = [[{"role": "user", "content": "long " * 200}]]
    rows = [*records_of(questions), {"id": "long", "question": turns, "function": [FUNCTION]}]
    asked = lines(tmp_path / "asked.json", *rows)
    outcome = run("evaluate", "bfcl", "--model", chat_model, "--questions", asked)
    assert "1 of 5 right" in outcome.out
    assert "refused (1)" in outcome.out
