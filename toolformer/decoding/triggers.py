"""When decoding opens a call, and what the text inside an open call amounts to so far.

Pure rules on ranked tokens and on text.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from toolformer.decoding.completions import MinCallProbability
from tools.errors import CallSyntaxError
from tools.protocol import ToolCall
from tools.syntax import ARROW, CALL_CLOSE, parse_sample

TokenT = TypeVar("TokenT")

# Why an open call is undone. The reasons of `tools.syntax` and of the tools' own parsers are
# passed on as they are.
BLOCKED_TOOL = "blocked_tool"
NOT_A_CALL = "not_a_call"
BRACKET_IN_ARGUMENTS = "bracket_in_arguments"
NEWLINE = "newline"
NO_ARROW = "no_arrow"
TOO_LONG = "too_long"
END_OF_TEXT = "end_of_text"
NO_RESULT = "no_result"
# Of a bracket behind which no tool is likely enough. It is never told, since no call has opened.
UNLIKELY = "unlikely"

_ARROW_SIGN = ARROW.strip()


class CallChance(NamedTuple):
    """How likely the opening of a call is at some place.

    Attributes:
        rank: one more than the number of tokens that are likelier, so equal ones share it; None
            where no call can open.
        probability: None as well.
    """

    rank: int | None
    probability: float | None


NO_CHANCE = CallChance(None, None)


def choose_token(
    ranked_tokens: Sequence[TokenT],
    *,
    open_token: TokenT,
    chance: CallChance,
    call_top_k: int,
    min_call_probability: float,
    calls_so_far: int,
    max_calls: int,
    is_disabled: bool,
) -> TokenT:
    """Choose the next token outside calls: greedy, but a call is opened where it may; `may_open`.

    Args:
        ranked_tokens: the likeliest tokens, best first; at least two, so that one is left where
            the opening token is banned.
        call_top_k: k; 1 is plain greedy decoding, 0 never opens a call.
        min_call_probability: the smallest of the tools that may be called.

    Returns:
        `open_token` where a call is to be opened, else the best other token.

    Paper: §4.2 (top k, at most one call for each input).

    Example:
        >>> rule = dict(call_top_k=3, min_call_probability=0, max_calls=1, is_disabled=False)
        >>> third, first = CallChance(3, 0.1), CallChance(1, 0.5)
        >>> choose_token([" the", " a"], open_token=" [", chance=third, calls_so_far=0, **rule)
        ' ['
        >>> choose_token([" [", " the"], open_token=" [", chance=first, calls_so_far=1, **rule)
        ' the'
    """
    rule = {"call_top_k": call_top_k, "min_call_probability": min_call_probability}
    if not is_disabled and calls_so_far < max_calls and may_open(*chance, **rule):
        return open_token
    return next(token for token in ranked_tokens if token != open_token)


def may_open(
    rank: int | None, probability: float | None, *, call_top_k: int, min_call_probability: float
) -> bool:
    """Whether the opening token is likely enough to open a call, by both conditions.

    Args:
        min_call_probability: ours; 0 leaves k alone to decide, 1 opens none.

    Example:
        >>> may_open(10, 0.1, call_top_k=10, min_call_probability=0.1)
        True
        >>> may_open(11, 0.1, call_top_k=10, min_call_probability=0.1)
        False
        >>> may_open(2, 0.09, call_top_k=10, min_call_probability=0.1)
        False
    """
    if rank is None or probability is None:
        return False
    return rank <= call_top_k and 1 > min_call_probability <= probability


def first_opening(
    chances: Iterable[CallChance],
    *,
    call_top_k: int,
    min_call_probability: MinCallProbability,
    tools: Iterable[str],
) -> int | None:
    """The first step of a text without calls at which decoding could open one; see `may_open`.

    Args:
        chances: step by step, from the first token behind the prompt on.
    """
    # Behind the first step all are alike.
    behind_prompt, in_text = (smallest(min_call_probability.at(step, tools)) for step in (0, 1))
    for at, chance in enumerate(chances):
        least = in_text if at else behind_prompt
        if may_open(*chance, call_top_k=call_top_k, min_call_probability=least):
            return at
    return None


def smallest(least: Mapping[str, float]) -> float:
    """The smallest of minimum probabilities by tool: what ` [` itself must have at least.

    0 where no tool may be called: the bracket is then taken back at once.
    """
    return min(least.values(), default=0.0)


def identify_tool(text: str, probability: float, *, least: Mapping[str, float]) -> str | None:
    """The tool whose call opens, once its name has been written and is likely enough.

    Compared with a tool's value is p(` [`) · p(tool | ` [`), where p(tool | ` [`) is the product of
    the probabilities of the tokens that the model writes behind ` [`, up to the one with which the
    text holds the whole name and can become the call of no other tool. So it does not matter how a
    tokenizer splits the name, which tools begin alike, or what the last of these tokens holds
    behind the name.

    Args:
        text: decoded text after `" ["`.
        probability: p(` [`) times those of the tokens so far.
        least: minimum probability of each tool that may be called.

    Returns:
        The tool; None while the text may still become the call of one that is likely enough.

    Raises:
        CallSyntaxError: it cannot.

    Example:
        >>> least = {"Calculator": 0.2, "Calendar": 0.05}
        >>> identify_tool("Cal", 0.1, least=least) is None
        True
        >>> identify_tool("Calendar", 0.1, least=least)
        'Calendar'
    """
    start = text.lstrip(" ")
    meant = [tool for tool in least if _agree(start, f"{tool}(")]
    if not any(1 > least[tool] <= probability for tool in meant):
        raise _failure(UNLIKELY, text)
    return meant[0] if len(meant) == 1 and start.startswith(meant[0]) else None


def read_open_call(
    text: str,
    *,
    enabled_tools: Sequence[str],
    blocked_tools: Sequence[str],
    parse_arguments: Callable[[str, str], str] | None,
) -> ToolCall | None:
    """Read the text since the opening marker, while it is being written.

    Args:
        text: decoded text after `" ["`.
        blocked_tools: tools that exist but may not; they only make the reason more precise.
        parse_arguments: tool name and arguments to normalised arguments; raises CallSyntaxError.

    Returns:
        The call once the text ends with the arrow; None while it may still become one.

    Raises:
        CallSyntaxError: as soon as it is certain that the text becomes no call of an enabled tool;
            `reason` says why.

    Example:
        >>> rules = dict(enabled_tools=["QA"], blocked_tools=[], parse_arguments=None)
        >>> read_open_call("QA(Who", **rules) is None
        True
        >>> read_open_call('QA("Who?") ->', **rules)
        ToolCall(tool_name='QA', arguments='Who?')
    """
    start = text.lstrip(" ")
    tool = next((name for name in enabled_tools if _agree(start, f"{name}(")), None)
    if tool is None:
        is_blocked = any(_agree(start, f"{name}(") for name in blocked_tools)
        raise _failure(BLOCKED_TOOL if is_blocked else NOT_A_CALL, text)
    if not start.startswith(f"{tool}("):
        return None
    # A longer name cannot share `Name(`, so the tool is certain from here on.
    if "\n" in start:
        raise _failure(NEWLINE, text)
    before_arrow, arrow, behind = start.partition(_ARROW_SIGN)
    if "[" in before_arrow:
        raise _failure(BRACKET_IN_ARGUMENTS, text)
    if CALL_CLOSE in before_arrow:
        raise _failure(NO_ARROW, text)
    if not arrow:
        return None
    if behind:
        # One token with more than the arrow: the result could not be put behind the arrow.
        raise _failure(NOT_A_CALL, text)
    arguments = parse_sample(before_arrow + CALL_CLOSE, tool)
    if parse_arguments is not None:
        arguments = parse_arguments(tool, arguments)
    return ToolCall(tool, arguments)


def _agree(text: str, start: str) -> bool:
    """Whether `text` begins with `start`, or is on the way to it."""
    return text.startswith(start) or start.startswith(text)


def _failure(reason: str, text: str) -> CallSyntaxError:
    return CallSyntaxError(
        reason, f"The text {text!r} cannot become a call ({reason}). Expected 'Name(…) ->'."
    )
