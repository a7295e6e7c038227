"""Loads, drafts and checks the few-shot prompts for annotating texts (paper, appendix A.2)."""

import re
from collections.abc import Sequence
from importlib.resources.abc import Traversable
from pathlib import Path

from toolformer.base.regular_files import read_regular
from tools.errors import PromptError

SLOT = "{text}"
_ENDING = f"Input: {SLOT}\nOutput:"
_ANY_CALL = r"\[[A-Za-z_][A-Za-z0-9_]*\([^\[\]]*\)\]"
_CALL = re.compile(_ANY_CALL)
_CALL_AND_SPACE = re.compile(rf" {_ANY_CALL}|{_ANY_CALL} ?")
_DEMONSTRATION = re.compile(r"^Input: (.*)\nOutput: (.*)$", re.MULTILINE)

MIN_EXAMPLES = 3
SHORT = "short"
"""Value of the setting `prompt` that selects the built-in short prompts."""
_PROMPTS = Path(__file__).with_name("prompts")
_MAX_PROMPT_BYTES = 2**20


def load_prompt(
    tool_name: str, path: Path | None = None, *, own: str | Traversable | None = None
) -> str:
    """Read and check a prompt: the file at `path`, else `own`, else a file of this package."""
    source = f"the prompt of {tool_name}" if path is None else str(path)
    file = path or own or _PROMPTS / f"{tool_name}.txt"
    prompt = file if isinstance(file, str) else _read(file, tool_name, source)
    prompt = prompt.removeprefix("\ufeff").replace("\r\n", "\n").rstrip("\n")
    check_prompt(prompt, tool_name, source=source)
    return prompt


def load_short_prompt(tool_name: str) -> str:
    """Read the short prompt of a tool, for small models; raise PromptError if it has none."""
    file = _PROMPTS / SHORT / f"{tool_name}.txt"
    if not file.is_file():
        raise PromptError(
            f"{tool_name} has no short prompt; only built-in tools have one. Remove `prompt` to "
            "use the tool's own prompt, or name a file."
        )
    return load_prompt(tool_name, own=file)


def _read(file: Traversable, tool_name: str, source: str) -> str:
    try:
        if isinstance(file, Path):
            return read_regular(file, maximum_bytes=_MAX_PROMPT_BYTES).decode("utf-8")
        return file.read_bytes().decode("utf-8")
    except (OSError, UnicodeError) as error:
        raise PromptError(
            f"The prompt of {tool_name} cannot be read from {source}: {error}. Expected a text "
            "file in UTF-8 with an instruction and demonstrations. Name one in the tool's "
            "settings, or set `prompt` in the tool's class."
        ) from error


def draft_prompt(
    name: str, description: str, examples: Sequence[str], *, parameters: Sequence[str] = ()
) -> str:
    """Draft a few-shot prompt. A prompt that is written and tested for the tool works better.

    Each example is one line, with each call before the text that its result helps to write. The
    instruction shows a call with `parameters` or, if there are none, the first call of the
    examples.

    Example:
        >>> examples = ["A [Echo(b)] b.", "C [Echo(d)] d.", "E [Echo(f)] f."]
        >>> prompt = draft_prompt("Echo", "Repeats a word.", examples, parameters=["word"])
        >>> prompt.splitlines()[0][-77:]
        'Repeats a word. A call looks like this: "[Echo(word)]". Some examples follow.'
        >>> prompt.splitlines()[2:4]
        ['Input: A b.', 'Output: A [Echo(b)] b.']
    """
    if len(examples) < MIN_EXAMPLES:
        raise PromptError(
            f"There are {len(examples)} examples for the prompt of {name}. Expected at least "
            f"{MIN_EXAMPLES} texts with calls."
        )
    calls, demonstrations = [f"[{name}({', '.join(parameters)})]"] if parameters else [], []
    for example in examples:
        shown = example.strip()
        call = _CALL.search(shown)
        if "\n" in shown or call is None:
            raise PromptError(
                f"The example {example!r} for the prompt of {name} is not one line with a call. "
                f"Expected one line of text that contains '[{name}(…)]'."
            )
        calls.append(call.group())
        demonstrations.append(f"Input: {_without_calls(shown)}\nOutput: {shown}")
    sentence = " ".join(description.split()).rstrip(".")
    instruction = (
        f"Add calls to the tool {name} to the passage, wherever its answer makes the rest of the "
        f'passage easier to write. {sentence}. A call looks like this: "{calls[0]}". Some examples '
        "follow."
    )
    prompt = "\n\n".join([instruction, *demonstrations, _ENDING])
    check_prompt(prompt, name, source=f"the drafted prompt of {name}")
    return prompt


def demonstrations_of(prompt: str) -> list[tuple[str, list[str]]]:
    r"""Return the text of each demonstration, with its calls as `Name(arguments)`.

    Example:
        >>> demonstrations_of("Input: A b.\nOutput: A [Echo(b)] b.\n\nInput: {text}\nOutput:")
        [('A b.', ['Echo(b)'])]
    """
    shown = _DEMONSTRATION.findall(prompt)
    return [(text, [call[1:-1] for call in _CALL.findall(output)]) for text, output in shown]


def check_prompt(prompt: str, tool_name: str, *, source: str = "the prompt") -> None:
    """Raise PromptError if the form is wrong or a demonstration does more than add calls."""
    slots = prompt.count(SLOT)
    if slots != 1:
        raise PromptError(
            f"In {source}, {SLOT} occurs {slots} times. Expected it once, in the last lines: "
            f"'Input: {SLOT}' and 'Output:'."
        )
    if not prompt.endswith(_ENDING):
        raise PromptError(
            f"{source} ends with {prompt[-40:]!r}. Expected the last two lines to be "
            f"'Input: {SLOT}' and 'Output:', with nothing after the colon."
        )
    demonstrations = _DEMONSTRATION.findall(prompt)
    calls = [call for _, output in demonstrations for call in _CALL.findall(output)]
    if not calls:
        raise PromptError(
            f"No demonstration in {source} has a call. Expected at least one pair of lines "
            f"'Input: …' and 'Output: …' with a call such as '[{tool_name}(…)]' in the output."
        )
    for call in calls:
        name = call[1:].partition("(")[0]
        if name != tool_name:
            raise PromptError(
                f"A demonstration in {source} calls {name}: {call!r}. Expected calls of "
                f"{tool_name} only, as there is one prompt per tool."
            )
    for text, output in demonstrations:
        copied = _without_calls(output)
        if copied != text:
            raise PromptError(
                f"A demonstration in {source} changes its text: without its calls, the output is "
                f"{copied!r}, the input is {text!r}. Make them equal."
            )


def _without_calls(output: str) -> str:
    """Remove calls, each with a space before it or, if there is none, after it."""
    return _CALL_AND_SPACE.sub("", output)
