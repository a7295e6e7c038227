"""Writes, parses, inserts and removes the text form of calls.

As in the paper (§2, footnote 1), `" ["`, `"->"` and `"]"` represent `<API>`, the arrow and
`</API>`. Texts contain brackets of their own, so finished texts are never searched for calls: the
offsets of calls are stored separately.
"""

import re
import unicodedata
from collections.abc import Sequence

from tools.errors import CallSyntaxError
from tools.protocol import LONGEST_ANSWER, ToolCall

CALL_OPEN = " ["
ARROW = " ->"
CALL_CLOSE = "]"

_ARROW_SIGN = ARROW.strip()
_QUOTE_PAIRS = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CALL_START = re.compile(rf"({_NAME.pattern})\(")
# Invisible characters: direction marks, zero-width joiners and breaks, and tags. Those that some
# scripts need are kept (U+200C, U+200D, signs over numbers).
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)


def is_tool_name(name: str) -> bool:
    """Return whether a name has only ASCII letters, digits and `_`, and no leading digit.

    Example:
        >>> [is_tool_name(name) for name in ("Calculator", "unit-converter", "2nd")]
        [True, False, False]
    """
    return _NAME.fullmatch(name) is not None


def call_pieces(
    call: ToolCall, result: str | None, *, empty_result_keeps_arrow: bool = True
) -> list[str]:
    """Return the pieces of a call, which are tokenized separately.

    Hence `" ["` and `"]"` are the same tokens everywhere. Without a result, the call is e(c, ε):
    `[Name(args) ->]` as in the paper or, if `empty_result_keeps_arrow` is false, `[Name(args)]`.

    Example:
        >>> call_pieces(ToolCall("Calculator", "6 * 7"), "42")
        [' [', 'Calculator(', '6 * 7', ')', ' ->', ' 42', ']']
    """
    pieces = [CALL_OPEN, f"{call.tool_name}(", call.arguments, ")"]
    if result:
        pieces += [ARROW, f" {result}"]
    elif empty_result_keeps_arrow:
        pieces.append(ARROW)
    pieces.append(CALL_CLOSE)
    return [piece for piece in pieces if piece]


def format_call(
    call: ToolCall, result: str | None = None, *, empty_result_keeps_arrow: bool = True
) -> str:
    """Return a call as text, with the space that belongs to the opening marker.

    Example:
        >>> format_call(ToolCall("Calculator", "6 * 7"), "42")
        ' [Calculator(6 * 7) -> 42]'
    """
    return "".join(call_pieces(call, result, empty_result_keeps_arrow=empty_result_keeps_arrow))


def parse_sample(sample_text: str, tool_name: str) -> str:
    """Return the arguments of a call in a sampled continuation of `" ["`.

    Text after the first `]` is ignored, since vocabularies have tokens such as `].` and `)]`.

    Example:
        >>> parse_sample('QA("Who painted The Night Watch?")]. It', "QA")
        'Who painted The Night Watch?'
    """
    body, bracket, _ = sample_text.partition(CALL_CLOSE)
    if not bracket:
        raise CallSyntaxError(
            "no_closing_bracket",
            f"The sample {_shortened(sample_text)} has no ']'. Expected '{tool_name}(…)]'.",
        )
    body = body.strip()
    start = _CALL_START.match(body)
    if start is None:
        raise CallSyntaxError(
            "not_a_call", f"The sample {_shortened(body)} is not a call. Expected '{tool_name}(…)'."
        )
    if start.group(1) != tool_name:
        raise CallSyntaxError(
            "other_tool",
            f"The sample {_shortened(body)} calls {start.group(1)!r}. Expected {tool_name!r}.",
        )
    rest = body[start.end() :]
    if rest.endswith(")"):
        arguments = strip_quotes(rest[:-1])
        check_arguments(arguments)
        return arguments
    if "[" in rest:
        # `a[0]` inside the arguments was cut at its own bracket above.
        check_arguments(rest)
    raise CallSyntaxError(
        "not_a_call",
        f"The sample {_shortened(body)} does not end with ')'. Expected '{tool_name}(…)' and "
        "nothing between ')' and ']'.",
    )


def check_arguments(arguments: str) -> None:
    """Raise CallSyntaxError if arguments contain a square bracket or an arrow."""
    if "[" in arguments or "]" in arguments:
        raise CallSyntaxError(
            "bracket_in_arguments",
            f"The arguments {_shortened(arguments)} contain a square bracket, which opens or "
            "closes a call. Expected arguments without '[' and ']'.",
        )
    if _ARROW_SIGN in arguments:
        raise CallSyntaxError(
            "arrow_in_arguments",
            f"The arguments {_shortened(arguments)} contain '->', which separates a call from "
            "its result. Expected arguments without '->'.",
        )


def strip_quotes(arguments: str) -> str:
    """Strip white space and one pair of enclosing quotes that do not occur in between.

    Example:
        >>> strip_quotes(' "Suez Canal" '), strip_quotes('"a" or "b"')
        ('Suez Canal', '"a" or "b"')
    """
    arguments = arguments.strip()
    if len(arguments) < 2 or _QUOTE_PAIRS.get(arguments[0]) != arguments[-1]:
        return arguments
    inner = arguments[1:-1]
    if arguments[0] in inner or arguments[-1] in inner:
        return arguments
    return inner.strip()


def clean_result(text: str) -> str:
    """Return a result as one line without call markers or invisible characters (idempotent).

    Example:
        >>> clean_result("B > see [2] -> x")
        'B > see (2) to x'
    """
    # Neither tokenizers nor Parquet accept a lone surrogate.
    text = text.encode("utf-8", errors="replace").decode("utf-8")
    # Invisible characters are removed before arrows, since this can join '-' and '>'.
    text = "".join(" " if unicodedata.category(char) == "Cc" else char for char in text)
    text = _INVISIBLE.sub("", text)
    text = text.replace("[", "(").replace("]", ")").replace(_ARROW_SIGN, " to ")
    return " ".join(text.split())


def single_line(text: str) -> str:
    r"""Put a text on one line; control characters and lone surrogates become spaces.

    Example:
        >>> single_line(" Suez\x00\nCanal ")
        'Suez Canal'
    """
    chars = (" " if unicodedata.category(char) in ("Cc", "Cs") else char for char in text)
    return " ".join("".join(chars).split())


def checked_answer(answer: object) -> str:
    """Return a tool's answer, cut to 20,000 characters; raise TypeError if it is not text."""
    if not isinstance(answer, str):
        raise TypeError(f"The tool answered with {type(answer).__name__}. Expected text (str).")
    return answer[:LONGEST_ANSWER]


def insert_calls(text: str, calls: Sequence[tuple[int, str]]) -> str:
    """Insert calls at character offsets of the text. Calls with equal offsets keep their order.

    Example:
        >>> insert_calls("A b", [(1, " [QA(b?) -> B]")])
        'A [QA(b?) -> B] b'
    """
    pieces, end_of_last = [], 0
    for offset, call_text in sorted(calls, key=lambda call: call[0]):
        if not 0 <= offset <= len(text):
            raise ValueError(
                f"A call has the character offset {offset} in a text of {len(text)} characters. "
                f"Expected 0 to {len(text)}; offsets count characters of the text without calls."
            )
        pieces += [text[end_of_last:offset], call_text]
        end_of_last = offset
    return "".join([*pieces, text[end_of_last:]])


def remove_calls(augmented_text: str, calls: Sequence[tuple[int, str]]) -> str:
    """Undo `insert_calls`; raise ValueError if a call is not at its offset."""
    pieces = []
    position = 0  # in augmented_text
    restored = 0  # characters of the text without calls before `position`
    for offset, call_text in sorted(calls, key=lambda call: call[0]):
        start = position + offset - restored
        if not augmented_text.startswith(call_text, start) or start < position:
            raise ValueError(
                f"The call {_shortened(call_text)} is not at character offset {offset}. Expected "
                "the calls and offsets that were inserted into this text."
            )
        pieces.append(augmented_text[position:start])
        position, restored = start + len(call_text), offset
    return "".join([*pieces, augmented_text[position:]])


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
