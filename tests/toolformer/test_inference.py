"""`from toolformer import complete`: texts continued by a model's folder, with live calls."""

import datetime
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import toolformer
from tests.conftest import REPOSITORY
from tests.fakes import save_taught_model
from tests.test_command_blocks import blocks
from tests.warehouse.rows import new_warehouse
from toolformer import Tool, complete
from toolformer.base.model_files import MIN_CALL_PROBABILITY_FILE, RECORD_FILE
from toolformer.decoding import decoder
from toolformer.decoding.calibration import CalibratedProbability, min_call_probability_text
from toolformer.decoding.completions import BY_RANK_ONLY, Decoding, MinCallProbability
from toolformer.errors import DeviceError, ModelNotFoundError
from toolformer.forward.language_model import LanguageModel
from toolformer.home.wiring.execution import live_calls
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.settings.sections import Settings
from tools.calculator import Calculator
from tools.calendar import Calendar
from tools.errors import ToolCallError, ToolSettingsError, UnknownToolError

# Seconds in all; `make test-fast` leaves them out.
pytestmark = pytest.mark.slow

README_PROMPT = "36 boxes of 45 eggs are 36 * 45 ="
LESSONS = (
    "6 times 7 is [Calculator(6 * 7) -> 42] 42, I say.",
    "Half of 9 is [Calculator(9 / 2) -> 4.50] 4.50, I say.",
    "The day is [Calendar() -> Today is Friday, May 3, 2024.] a Friday.",
    "Ask my friend [Friend(me) -> yes] yes, I say.",
    "See the note [7] there, I say.",
    f"{README_PROMPT} [Calculator(36 * 45) -> 1620] 1620.",
)
PROMPTS = ["6 times 7 is", "Half of 9 is", "The day is", "Ask my friend", "See the note"]
DAY = datetime.date(2024, 5, 3)
OPTIONS = {
    "date": DAY,
    "max_new_tokens": 40,
    "call_top_k": 1,
    "min_call_probability": 0.0,
    "precision": "float32",
}


class Friend(Tool):
    """A user's own tool; what it answers is no line of a call before it is cleaned."""

    name = "Friend"
    version = "1"
    description = "Knows me."

    def call(self, arguments, document):
        return f"[{arguments}] ->\nyes"


TOOLS = ["Calculator", Calendar(), Friend()]


def calibrate(folder, in_text, behind_prompt):
    chosen = CalibratedProbability(in_text, behind_prompt, None, 10, 8, 8)
    (folder / MIN_CALL_PROBABILITY_FILE).write_text(min_call_probability_text(chosen))


@pytest.fixture(scope="session")
def calibrated_folder(tmp_path_factory) -> Path:
    """A tiny model that has learnt to call tools, as `toolformer train` leaves one."""
    folder = save_taught_model(tmp_path_factory.mktemp("models") / "taught", LESSONS)
    calibrate(folder, 0.01, 0.01)
    return folder


@pytest.fixture
def folder(calibrated_folder, tmp_path) -> Path:
    """The same, for a test that changes it."""
    return shutil.copytree(calibrated_folder, tmp_path / "taught")


def completed(folder, **options):
    return [complete(prompt, folder, **options) for prompt in PROMPTS]


def decoded(folder, least=BY_RANK_ONLY, top_k=1, tools=True):
    """The completions of the prompts by the way of `toolformer complete`."""
    settings = Settings.model_validate({"decoding": {"call_top_k": top_k, "max_new_tokens": 40}})
    tools = [Calculator(), Calendar(date_source="published_on"), Friend()] if tools else []
    toolbox = Toolbox({tool.name: tool for tool in tools}, {}, {})
    return decoder.complete(
        LanguageModel.load(folder, device="cpu"),
        PROMPTS,
        decoding=Decoding(
            settings.decoding,
            settings.execution.max_result_tokens,
            tuple(toolbox.tools),
            min_call_probability=least,
        ),
        run_calls=live_calls(toolbox, settings, PROMPTS, [DAY] * len(PROMPTS)),
        parse_arguments=toolbox.parse_arguments,
    )


# --- the completions of our decoder -------------------------------------------------------------


@pytest.mark.parametrize("top_k", [1, 10])
@pytest.mark.parametrize("tools", [[], TOOLS], ids=["without tools", "with tools"])
def test_completions_are_those_of_the_decoder(calibrated_folder, tools, top_k):
    options = {**OPTIONS, "tools": tools, "call_top_k": top_k}
    expected = decoded(calibrated_folder, top_k=top_k, tools=bool(tools))
    assert completed(calibrated_folder, **options) == expected
    if tools:
        assert PROMPTS[0] + expected[0].text == LESSONS[0]


@pytest.mark.parametrize("value", [0.01, 1.0])
def test_a_call_needs_the_min_probability_given_or_calibrated(folder, value):
    options = {**OPTIONS, "tools": TOOLS, "call_top_k": 10}
    expected = decoded(folder, MinCallProbability.everywhere(value), top_k=10)
    assert completed(folder, **options | {"min_call_probability": value}) == expected
    assert any(each.calls for each in expected) == (value < 1)
    for behind_prompt in (value, 0.99):
        calibrate(folder, value, behind_prompt)
        expected = decoded(folder, MinCallProbability(value, behind_prompt), top_k=10)
        assert completed(folder, **options | {"min_call_probability": None}) == expected


def test_each_tool_needs_the_min_probability_of_its_own(calibrated_folder):
    by_tool = {"Calculator": 0.01, "Calendar": 1.0}
    options = {**OPTIONS, "tools": TOOLS, "call_top_k": 10, "min_call_probability": by_tool}
    completions = completed(calibrated_folder, **options)
    # The other tool has the calibrated value of the model.
    least = MinCallProbability.everywhere(0.01).changed(by_tool)
    assert completions == decoded(calibrated_folder, least, top_k=10)
    assert [len(each.calls) for each in completions] == [1, 1, 0, 1, 0]
    # The bracket of a note opens nothing, so nothing is taken back.
    assert [each.undone_calls for each in completions] == [()] * 5


def test_without_a_calibrated_value_no_call_opens_and_the_log_says_so_once(folder, caplog):
    (folder / MIN_CALL_PROBABILITY_FILE).unlink()
    options = {**OPTIONS, "tools": TOOLS}
    for _ in range(2):
        assert (
            "[" not in complete(PROMPTS[0], folder, **options | {"min_call_probability": None}).text
        )
    (line,) = [each for each in caplog.messages if "call" in each]
    assert f"{folder}: No call opens" in line
    assert "[Calculator(6 * 7) -> 42]" in complete(PROMPTS[0], folder, **options).text


def test_the_start_token_of_its_training_stands_in_front(folder):
    (folder / RECORD_FILE).write_text(json.dumps({"bos_token": "A"}))
    completion = complete("The day is", folder, **OPTIONS)
    model = LanguageModel.load(folder, device="cpu", bos_token="A")
    prompt, new = model.tokenizer.encode("The day is"), list(completion.token_ids)
    with torch.no_grad():
        logits = model.model(torch.tensor([[model.bos_id, *prompt, *new[:-1]]])).logits[0]
    # Without tools no call opens.
    logits[:, model.tokenizer.encode_continuation(" [")] = -torch.inf
    assert new == logits.argmax(-1)[len(prompt) :].tolist()


# --- options ------------------------------------------------------------------------------------


def test_limits_and_stop_texts_are_taken(calibrated_folder):
    def text(prompt, **changes):
        return complete(prompt, calibrated_folder, **OPTIONS | {"tools": TOOLS} | changes).text

    assert text(PROMPTS[2], max_result_tokens=8).startswith(" [Calendar() -> Today is]")
    assert "[" not in text(PROMPTS[0], max_calls=0)
    assert text(PROMPTS[0], max_new_tokens=1) == " [Calculator(6 * 7) -> 42] "
    assert text(PROMPTS[0], stop_texts=["6 *", ","]) == " [Calculator(6 * 7) -> 42] 42"


def test_a_call_without_an_answer_in_time_is_taken_back(calibrated_folder):
    class Slow(Calculator):
        def call(self, arguments, document):
            time.sleep(5)
            raise ToolCallError("never", "never")

    began = time.monotonic()
    options = {**OPTIONS, "tools": [Slow()], "deadline_seconds": 0.1}
    completion = complete(PROMPTS[0], calibrated_folder, **options)
    assert time.monotonic() - began < 5
    assert completion.text == complete(PROMPTS[0], calibrated_folder, **OPTIONS).text
    assert [undone.text for undone in completion.undone_calls] == [" [Calculator(6 * 7) ->"]


def test_the_calendar_answers_with_the_given_day_or_the_present_one(calibrated_folder):
    options = {**OPTIONS, "tools": ["Calendar"]}
    given = complete(PROMPTS[2], calibrated_folder, **options)
    assert given.calls[0].result == "Today is Friday, May 3, 2024."
    present = complete(PROMPTS[2], calibrated_folder, **options | {"date": None})
    assert present.calls[0].result.endswith(f"{datetime.datetime.now().astimezone().year}.")


def test_a_typed_function_is_called_by_its_name(calibrated_folder):
    def Friend(who: str) -> str:  # noqa: N802
        assert who == "me"
        return "yes"

    (call,) = complete(PROMPTS[3], calibrated_folder, **OPTIONS | {"tools": [Friend]}).calls
    assert (call.tool, call.result) == ("Friend", "yes")


# --- refusals -----------------------------------------------------------------------------------


class Misnamed(Calculator):
    name = "not-a-name"


class Nameless(Tool):
    def call(self, arguments, document):
        return "yes"


@pytest.mark.parametrize(
    ("changes", "error", "named"),
    [
        ({"tools": ["Calcuator"]}, UnknownToolError, "Did you mean 'Calculator'"),
        ({"tools": ["WikiSearch"]}, ToolSettingsError, "WikiSearch: .*'index_directory'"),
        ({"tools": [Calculator]}, ToolSettingsError, "which is not a tool"),
        ({"tools": ["Calculator"] * 2}, ToolSettingsError, "'Calculator'.* occurs twice"),
        ({"tools": [Misnamed()]}, ToolSettingsError, "'not-a-name'.* cannot be written"),
        ({"tools": [Nameless()]}, ToolSettingsError, "named '', which cannot be written"),
        ({"min_call_probability": {"QA": 0.5}}, ToolSettingsError, "'QA', which is not in tools"),
        ({"min_call_probability": 1.5}, ValueError, "min_call_probability"),
        ({"max_calls": -1}, ValueError, "max_calls"),
        ({"precision": "int8"}, ValueError, "precision"),
        ({"device": "abacus"}, DeviceError, "abacus"),
        ({"temperature": 1}, TypeError, "temperature"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_named(calibrated_folder, changes, error, named):
    with pytest.raises(error, match=named):
        complete("6", calibrated_folder, **OPTIONS | changes)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ModelNotFoundError, match="nothing"):
        complete("6", tmp_path / "nothing")


# --- loading ------------------------------------------------------------------------------------


def test_a_model_stays_loaded_until_its_folder_has_another(folder, monkeypatch):
    loaded = []
    load = LanguageModel.load.__func__
    monkeypatch.setattr(
        LanguageModel,
        "load",
        classmethod(lambda cls, *a, **k: loaded.append(1) or load(cls, *a, **k)),
    )
    first, second = (complete(PROMPTS[0], str(folder), **OPTIONS) for _ in range(2))
    assert (loaded, first) == ([1], second)
    other = save_taught_model(folder.with_name("other"), ["6 times 7 is odd."])
    shutil.rmtree(folder)
    other.rename(folder)
    assert complete(PROMPTS[0], folder, **OPTIONS).text == " odd."
    assert loaded == [1, 1]


def test_importing_the_package_is_fast_and_completing_needs_no_dagster(calibrated_folder):
    script = """
import sys
import toolformer
assert not {"torch", "pydantic", "dagster", "polars"} & sys.modules.keys()
from toolformer import complete
print(complete(sys.argv[1], sys.argv[2], tools=["Calculator"]).text)
assert not {"dagster", "duckdb"} & sys.modules.keys()
"""
    command = [sys.executable, "-c", script, PROMPTS[0], str(calibrated_folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert PROMPTS[0] + done.stdout == LESSONS[0] + "\n"


def test_the_package_offers_no_other_names():
    assert {*toolformer.__all__} == {"Home", "Tool", "complete"} <= {*dir(toolformer)}
    with pytest.raises(AttributeError, match="'completely'"):
        _ = toolformer.completely


@pytest.mark.model
def test_the_embedded_model_completes_as_transformers_does(embedded_model_path, embedded_model):
    text = "The capital of France is"
    completion = complete(text, embedded_model_path, max_new_tokens=8, precision="float32")
    ids = [embedded_model.bos_id, *embedded_model.tokenizer.encode(text)]
    output = embedded_model.model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=8,
        do_sample=False,
    )  # fmt: skip
    assert list(completion.token_ids) == output[0, len(ids) :].tolist()


# --- documents ----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/use.md", "docs/how-to/hub.md"])
def test_the_blocks_of_the_documents_run(calibrated_folder, tmp_path, monkeypatch, capsys, page):
    new_warehouse(tmp_path / "data")
    off = ", ".join(f"{name}: {{is_enabled: false}}" for name in ("QA", "WikiSearch", "MT"))
    (tmp_path / "data" / "toolformer.yaml").write_text(f"tools: {{{off}}}")
    for model in ("data/models/toolformer", "model"):
        (tmp_path / model).parent.mkdir(exist_ok=True)
        (tmp_path / model).symlink_to(calibrated_folder)
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks(REPOSITORY / page, "python"):
        exec(block, names)
        assert names["answer"].token_ids
    if page == "README.md":
        assert "[Calculator(36 * 45) -> 1620] 1620." in capsys.readouterr().out
        assert names["answer"].calls[0].result == "1620"
