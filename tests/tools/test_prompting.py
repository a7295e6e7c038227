"""The few-shot prompts."""

import pytest

from tools.errors import PromptError
from tools.prompting import SLOT, check_prompt, fill_prompt, load_prompt
from tools.registry import TOOL_NAMES

DEMONSTRATIONS = {"QA": 2, "Calculator": 5, "WikiSearch": 3, "MT": 3, "Calendar": 5}
GOOD = """Add calls.

Input: The sum is 5.
Output: The sum is [Calculator(2 + 3)] 5.

Input: {text}
Output:"""


@pytest.mark.parametrize("name", TOOL_NAMES)
def test_each_tool_has_a_prompt_that_keeps_the_copy_rule(name):
    prompt = load_prompt(name)
    assert prompt.count("\nInput: ") == DEMONSTRATIONS[name] + 1
    assert prompt.endswith("\n\nInput: {text}\nOutput:")
    assert f'"[{name}(' in prompt.splitlines()[0]


@pytest.mark.parametrize("name", TOOL_NAMES)
def test_filling_changes_the_slot_alone(name):
    prompt = load_prompt(name)
    text = "Braces {text} and {0} and 100% \\1 stay."
    filled = fill_prompt(prompt, text)
    assert filled == prompt.removesuffix(f"{SLOT}\nOutput:") + text + "\nOutput:"


def test_a_file_of_the_users_own_is_read(tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text(GOOD, encoding="utf-8")
    assert load_prompt("Calculator", file) == GOOD


def test_what_editors_add_to_a_file_is_forgiven(tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode() + b"\r\n")
    assert load_prompt("Calculator", file) == GOOD


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PromptError, match=r"nowhere\.txt does not exist"):
        load_prompt("Calculator", tmp_path / "nowhere.txt")


def test_a_folder_is_no_prompt(tmp_path):
    with pytest.raises(PromptError, match="cannot be read"):
        load_prompt("Calculator", tmp_path)


def test_a_file_in_another_encoding_is_named(tmp_path):
    file = tmp_path / "latin.txt"
    file.write_bytes(GOOD.replace("sum", "s\xe4m").encode("latin-1"))
    with pytest.raises(PromptError, match=r"latin\.txt is not UTF-8"):
        load_prompt("Calculator", file)


def test_a_tool_without_a_prompt_is_an_error():
    with pytest.raises(PromptError, match="prompt of Compass"):
        load_prompt("Compass")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{text}", "text", "occurs 0 times"),
        ("The sum is 5.", "The {text} is 5.", "occurs 2 times"),
        ("\nOutput:", "\nOutput: ", "Expected the last two lines"),
        ("[Calculator(2 + 3)] ", "", "has a call"),
        ("[Calculator(", "[QA(", "calls QA"),
        ("Output: The sum is", "Output: A sum is", "changes its text"),
        ("(2 + 3)] 5.", "(2 + 3)]  5.", "changes its text"),
    ],
)
def test_a_prompt_that_cannot_work_is_refused(old, new, message):
    with pytest.raises(PromptError, match=message):
        check_prompt(GOOD.replace(old, new), "Calculator")
