"""Questions asked in one mode after the other, of a model that writes what it is told to."""

import datetime
import json

import pytest

from assets.evaluation.questions import Questions
from tests.fakes import ScriptedModel
from tests.homes import write_lines
from toolformer.decoding.completions import MinCallProbability
from toolformer.errors import ToolformerError
from toolformer.evaluation.benchmarks.benchmark import BenchmarkItem
from toolformer.evaluation.benchmarks.question_file import QuestionFile
from toolformer.evaluation.modes import DISABLED, Mode, enabled
from toolformer.forward.chat_template import plain_template
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.settings.evaluation_sections import QuestionFileSettings
from toolformer.settings.sections import Settings, validated
from tools.base import Tool
from tools.errors import ToolTimeoutError, ToolUnavailableError
from tools.registry import create_tool
from tools.running.deadlines import MAX_FAILURES_IN_A_ROW

CALLED = " [Calculator(6 * 7) -> 42]"
QUESTIONS = [
    {"id": "right", "question": "Six times seven?", "answers": ["42"]},
    {"id": "undone", "question": "Why?", "answers": ["because"]},
]
TEXTS = ["Q: Six times seven? It is 41 so.", "Q: Why? Just because so."]


def described(first_words: int = 20) -> QuestionFileSettings:
    return QuestionFileSettings(path="own.jsonl", prompt="Q: {question}", first_words=first_words)


@pytest.fixture
def benchmark(tmp_path) -> QuestionFile:
    file = write_lines(tmp_path / "own.jsonl", QUESTIONS)
    return QuestionFile("own", file, described(first_words=5))


def calling_model(*elsewhere: str) -> ScriptedModel:
    """Wants to open a call behind this question, and behind other contexts."""
    behind = ["Q: Six times seven? It is", *elsewhere]
    texts = [*TEXTS, f"Q: Six times seven? It is{CALLED} 42 so."]
    return ScriptedModel(texts, open_ranks=dict.fromkeys(behind, 3))


def items_of(benchmark: QuestionFile) -> list[BenchmarkItem]:
    return [item for item in benchmark.items() if isinstance(item, BenchmarkItem)]


def questions_of(
    benchmark: QuestionFile, settings: Settings | None = None, tools: dict | None = None
) -> Questions:
    toolbox = Toolbox(tools or {"Calculator": create_tool("Calculator")}, {}, {})
    return Questions(benchmark, toolbox, settings or Settings())


def rows_of(questions: Questions, model, mode: Mode, items: list[BenchmarkItem]) -> list[dict]:
    return questions.ask(model, mode, items, known={}, progress=lambda done, total: None)


def asked(model, benchmark, settings: Settings, tools: dict | None = None):
    """Rows by item and mode."""
    questions = questions_of(benchmark, settings, tools)
    return {
        (row["item_id"], mode.name): row
        for mode in (DISABLED, enabled(settings.decoding.call_top_k))
        for row in rows_of(questions, model, mode, items_of(benchmark))
    }


def test_every_item_is_asked_in_both_modes_and_scored_without_its_call(benchmark: QuestionFile):
    settings = validated({"decoding": {"call_top_k": 3}}, origin="test")
    rows = asked(calling_model("Q: Why? Just"), benchmark, settings)
    assert set(rows) == {(key, mode) for key in ("right", "undone") for mode in MODES}
    off, on = rows["right", "disabled"], rows["right", "enabled"]
    assert (off["output"], off["answer"], off["score"]) == (" It is 41 so.", " It is 41 so.", 0.0)
    assert (on["output"], on["answer"]) == (f" It is{CALLED} 42 so.", " It is 42 so.")
    assert (on["score"], on["called_tool"], on["arguments"], on["result"]) == (
        *(1.0, "Calculator"),
        *("6 * 7", "42"),
    )
    assert (on["is_result_right"], off["is_result_right"]) == (True, None)
    assert json.loads(on["gold"]) == ["42"]
    assert (on["stopped_by"], off["stopped_by"]) == ("end_of_text", "end_of_text")
    undone = rows["undone", "enabled"]
    assert undone["called_tool"] is None
    assert undone["undone_call"] == " [ (end_of_text)"
    assert (undone["output"], undone["score"]) == (" Just because so.", 1.0)
    assert (off["call_top_k"], on["call_top_k"], on["without_tool"]) == (0, 3, None)


def test_a_call_that_is_too_unlikely_is_not_opened(benchmark: QuestionFile):
    # Third of the likeliest: below one in ten.
    model, questions, answers = calling_model(), questions_of(benchmark), {}
    for least in (0.5, 0.05):
        # It opens behind a token.
        mode = enabled(3, MinCallProbability(least, 1.0))
        rows = rows_of(questions, model, mode, items_of(benchmark))
        answers[least] = {row["item_id"]: row["output"] for row in rows}["right"]
        assert {row["min_call_probability"] for row in rows} == {least}
        assert {row["min_call_probability_behind_prompt"] for row in rows} == {1.0}
    assert answers == {0.5: " It is 41 so.", 0.05: f" It is{CALLED} 42 so."}


def test_a_forced_call_opens_where_it_is_likeliest_whatever_its_probability(benchmark):
    # Without that nothing would open: its probability is far below what calls need.
    model = calling_model()
    least = enabled(1, MinCallProbability.everywhere(0.9))
    forced = Mode("forced", 1, is_forced=True)
    for modes in ([DISABLED, least, forced], [forced]):
        # What it writes without calls is asked for where it is not known.
        questions = questions_of(benchmark)
        rows = {mode.name: rows_of(questions, model, mode, items_of(benchmark)) for mode in modes}
        right, undone = rows["forced"]
        assert (right["output"], right["score"]) == (f" It is{CALLED} 42 so.", 1.0)
        assert (right["mode"], right["call_top_k"]) == ("forced", 1)
        # What is no call is taken back.
        assert (undone["called_tool"], undone["answer"]) == (None, " Just because so.")
        assert undone["undone_call"].startswith(" [")
        if "enabled" in rows:
            assert {row["called_tool"] for row in rows["enabled"]} == {None}


MODES = ("disabled", "enabled")


def test_a_chat_is_asked_by_the_models_own_template_if_it_knows_one(benchmark: QuestionFile):
    settings = validated(
        {"decoding": {"call_top_k": 3}, "evaluation": {"form": "chat"}}, origin="test"
    )
    # Each begins with the start token, which the template writes too.
    said = [f"{text[: len('Q: Why?')]}<|im_end|>{text[len('Q: Why?') :]}" for text in TEXTS[1:]]
    right = "Q: Six times seven?<|im_end|>"
    model = ScriptedModel(
        [*said, f"{right} It is 41 so.", f"{right} It is{CALLED} 42 so."],
        open_ranks={f"{right} It is": 3},
    )
    model.tokenizer.backend.chat_template = "{{ raise_exception('no questions') }}"
    with pytest.raises(ToolformerError, match=r"cannot render a question \(no questions\)"):
        asked(model, benchmark, settings)
    model.tokenizer.backend.chat_template = (
        "{% for turn in messages %}<|endoftext|>{{ turn.content }}<|im_end|>{% endfor %}"
    )
    rows = asked(model, benchmark, settings)
    off, on = rows["right", "disabled"], rows["right", "enabled"]
    assert (off["prompt"], off["answer"], off["score"]) == (
        "Q: Six times seven?",
        " It is 41 so.",
        0.0,
    )
    assert (on["output"], on["score"], on["result"]) == (f" It is{CALLED} 42 so.", 1.0, "42")
    assert rows["undone", "enabled"]["answer"] == " Just because so."
    # As in plain texts, of a model without a template and of one that was finetuned on these.
    plain = calling_model()
    for template in (None, plain_template(plain.tokenizer, 0)):
        plain.tokenizer.backend.chat_template = template
        questions = questions_of(benchmark, settings)
        right, _ = rows_of(questions, plain, enabled(3), items_of(benchmark))
        assert right["output"] == f" It is{CALLED} 42 so."


class Broken(Tool):
    """Has an answer to nothing but 6 * 7."""

    name = "Calculator"
    version = "1"
    description = "Is down."
    calls = 0

    def call(self, arguments, document):
        self.calls += 1
        if arguments == "6 * 7":
            return "42"
        raise ToolTimeoutError("no answer")


def test_a_tool_that_stays_down_ends_the_benchmark_and_is_given_up_once(tmp_path):
    sums = [{"question": f"{number}?", "answers": ["1"]} for number in range(25)]
    file = write_lines(tmp_path / "own.jsonl", sums)
    texts = [f"Q: {number}? [Calculator({number} * 9) -> 1] 1" for number in range(25)]
    benchmark = QuestionFile("own", file, described())
    settings = Settings()
    tool, made = Broken(), []
    toolbox = Toolbox({"Calculator": tool}, {}, {})
    for _ in range(2):
        questions = Questions(benchmark, toolbox, settings)
        with pytest.raises(ToolUnavailableError, match="no answer 20 times in a row"):
            rows_of(questions, ScriptedModel(texts), enabled(1), items_of(benchmark))
        made.append(tool.calls)
    assert made[0] == made[1] >= MAX_FAILURES_IN_A_ROW


def test_without_a_tool_no_call_of_it_is_made(benchmark: QuestionFile):
    tools = {"Calculator": create_tool("Calculator"), "QA": Broken()}
    model, questions, rows = calling_model(), questions_of(benchmark, tools=tools), {}
    for mode in (DISABLED, enabled(3), Mode("without-Calculator", 3, "Calculator")):
        for row in rows_of(questions, model, mode, items_of(benchmark)):
            rows[row["item_id"], row["mode"]] = row
    assert rows["right", "enabled"]["called_tool"] == "Calculator"
    without = rows["right", "without-Calculator"]
    assert (without["called_tool"], without["without_tool"]) == (None, "Calculator")
    assert without["answer"] == " It is 41 so."


def test_the_calendar_says_a_fixed_day_where_an_item_has_none(tmp_path):
    file = write_lines(tmp_path / "own.jsonl", [{"question": "Now?", "answers": ["Thursday"]}])
    benchmark = QuestionFile("own", file, described())
    settings = Settings()
    today = settings.evaluation.today
    assert today == datetime.date(2023, 2, 9)
    result = f"Today is {today:%A, %B} {today.day}, {today.year}."
    text = f"Q: Now? [Calendar() -> {result}] Thursday"
    tools = {"Calendar": create_tool("Calendar", {"date_source": "published_on"})}
    rows = asked(ScriptedModel([text]), benchmark, settings, tools)
    (row,) = (row for (_, mode), row in rows.items() if mode == "enabled")
    assert (row["result"], row["score"]) == (result, 1.0)
