"""The worked example of a tool of one's own, in `examples/dates`."""

import datetime

import pytest

from tests.test_command_blocks import blocks, parsed_commands
from tests.tools.plugins.example_runs import EXAMPLES, commands_of
from tests.warehouse.rows import new_warehouse
from toolformer.settings.settings_file import load_settings
from tools.errors import CallSyntaxError, ToolCallError
from tools.prompting import load_prompt
from tools.protocol import Document
from tools.registry import create_tool
from tools.running.contract import Trial

EXAMPLE = EXAMPLES / "dates"
FRIDAY = datetime.date(2024, 5, 31)


@pytest.fixture
def create(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    return lambda given: create_tool("Dates", given, targets={"Dates": "dates:Dates"})


def test_its_settings_load_and_it_keeps_the_contract(create):
    settings = load_settings(EXAMPLE / "toolformer.yaml")
    assert settings.tools.of("Dates").contrast_threshold == 0.05
    assert settings.sampling.proposals == "calls"
    trial = Trial(
        "Dates",
        create,
        {},
        read_prompt=lambda tool: load_prompt("Dates", own=tool.prompt),
        deadline_seconds=10.0,
    )
    assert "failed" not in {status for _, status, _ in trial.run()}


def test_its_commands_have_the_right_flags_and_settings(tmp_path):
    texts = tmp_path / "texts.jsonl"
    texts.touch()
    found = commands_of(EXAMPLE / "run.sh", str(texts), str(tmp_path / "homes"), folder=tmp_path)
    assert found == ["ingest", "build", "train", "evaluate"] * 2
    (questions,) = [text for text in blocks(EXAMPLE / "README.md", "bash") if " sql " in text]
    warehouse = new_warehouse(tmp_path)
    for command in parsed_commands(questions):
        assert warehouse.query(command.params["query"]).is_empty()


def test_a_day_is_seen_from_the_day_of_the_text(create):
    tool, document = create({}), Document("d", "", published_on=FRIDAY)
    answers = {
        "2024-05-31 + 30 days": "Sunday, June 30, 2024",
        "weekday of 31 May 2024": "Friday",
        "days until June 1": "1 day",
        "two weeks ago": "Friday, May 17, 2024",
        "next Friday": "Friday, June 7, 2024",
        "Friday": "Friday, May 31, 2024",
        "Tuesday": "Tuesday, June 4, 2024",
    }
    for arguments, answer in answers.items():
        assert tool.call(tool.parse_arguments(arguments), document) == answer


def test_what_is_no_day_has_no_answer(create):
    tool, dated = create({}), Document("d", "", published_on=FRIDAY)
    with pytest.raises(CallSyntaxError):
        tool.parse_arguments("some day")
    for arguments, document in (("February 30, 2024", dated), ("today", Document("d", ""))):
        with pytest.raises(ToolCallError):
            tool.call(arguments, document)


def test_it_proposes_only_what_stands_in_front(create):
    text = (
        "The show opens next Friday, June 7. Two weeks ago, on 17 May, it was Friday 31 May 2024."
    )
    found = create({}).proposals(Document("d", text, published_on=FRIDAY))
    assert [(each.arguments, text[each.offset :].split(".")[0][:6]) for each in found] == [
        ("next Friday", "June 7"),
        ("Two weeks ago", "17 May"),
        ("Friday", "31 May"),
    ]
