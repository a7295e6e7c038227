"""The few-shot prompts."""

import pytest

from tools.errors import PromptError
from tools.prompting import (
    SLOT,
    check_prompt,
    demonstrations_of,
    draft_prompt,
    load_prompt,
    load_short_prompt,
)
from tools.registry import TOOL_NAMES, create_tool
from tools.syntax import parse_sample

GOOD = """Add calls.

Input: The sum is 5.
Output: The sum is [Calculator(2 + 3)] 5.

Input: {text}
Output:"""


@pytest.mark.parametrize("name", TOOL_NAMES)
def test_each_tool_has_a_prompt_into_which_a_text_goes_unchanged(name):
    prompt = load_prompt(name)
    assert len(demonstrations_of(prompt)) >= 2
    assert f'"[{name}(' in prompt.splitlines()[0]
    text = "Braces {text} and {0} and 100% \\1 stay."
    assert (
        prompt.replace(SLOT, text) == prompt.removesuffix(f"{SLOT}\nOutput:") + text + "\nOutput:"
    )


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "latin.txt").write_bytes(GOOD.replace("sum", "s\xe4m").encode("latin-1"))
    for file in (tmp_path / "nowhere.txt", tmp_path, tmp_path / "latin.txt"):
        with pytest.raises(PromptError, match=str(file)):
            load_prompt("Calculator", file)
    for load in (load_prompt, load_short_prompt):
        with pytest.raises(PromptError, match="Compass"):
            load("Compass")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{text}", "text"),
        ("The sum is 5.", "The {text} is 5."),
        ("\nOutput:", "\nOutput: "),
        ("[Calculator(2 + 3)] ", ""),
        ("[Calculator(", "[QA("),
        ("Output: The sum is", "Output: A sum is"),
        ("(2 + 3)] 5.", "(2 + 3)]  5."),
    ],
)
def test_a_prompt_that_cannot_work_is_refused(old, new):
    with pytest.raises(PromptError):
        check_prompt(GOOD.replace(old, new), "Calculator")


def test_a_prompt_of_the_tools_own_is_text_or_a_file_and_the_users_wins(tmp_path):
    file, users = tmp_path / "own.txt", tmp_path / "users.txt"
    file.write_text(GOOD)
    # What editors add to a file is forgiven.
    users.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("Add", "Use").replace("\n", "\r\n").encode())
    for own in (GOOD, file):
        assert load_prompt("Calculator", own=own) == GOOD
        assert load_prompt("Calculator", users, own=own) == GOOD.replace("Add", "Use")


def test_a_drafted_prompt_demonstrates_the_examples():
    examples = [
        "The sum is [Add(2, 3)] 5.",
        "  In all ([Add(1, 1)] 2 of them) there are [Add(4, 4)] 8. ",
        "Nothing more than [Add(0, 1)]",
    ]
    prompt = draft_prompt("Add", "Adds two\n numbers", examples, parameters=["a", "b"])
    check_prompt(prompt, "Add")
    assert '"[Add(a, b)]"' in prompt.splitlines()[0]
    assert demonstrations_of(prompt) == [
        ("The sum is 5.", ["Add(2, 3)"]),
        ("In all (2 of them) there are 8.", ["Add(1, 1)", "Add(4, 4)"]),
        ("Nothing more than", ["Add(0, 1)"]),
    ]
    for wrong in (examples[:2], [*examples, "Nothing."], [*examples, "One [QA(who)] two."]):
        with pytest.raises(PromptError):
            draft_prompt("Add", "Adds.", wrong)


@pytest.mark.parametrize("name", TOOL_NAMES)
def test_each_tool_has_a_short_prompt_with_four_calls_that_it_takes(name):
    prompt = load_short_prompt(name)
    assert f'"[{name}(' in prompt.splitlines()[0]
    needed = {"WikiSearch": ["index_directory"], "QA": ["retriever", "reader"]}
    tool = create_tool(name, dict.fromkeys(needed.get(name, []), ""))
    shown = demonstrations_of(prompt)
    assert len(shown) == 4
    for _, (call,) in shown:
        assert tool.parse_arguments(parse_sample(f"{call}]", name)) == call[len(name) + 1 : -1]
