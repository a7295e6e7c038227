"""Decides when a call opens, and reads the text of a call while it is being written."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from toolformer.decoding.completions import MinCallProbability
from tools.errors import CallSyntaxError
from tools.protocol import ToolCall
from tools.syntax import ARROW, CALL_CLOSE, parse_sample

TokenT = TypeVar("TokenT")

# Reasons for undoing an open call. Reasons of `tools.syntax` and of the tools' parsers are reported
# unchanged.
BLOCKED_TOOL = "blocked_tool"
NOT_A_CALL = "not_a_call"
BRACKET_IN_ARGUMENTS = "bracket_in_arguments"
NEWLINE = "newline"
NO_ARROW = "no_arrow"
TOO_LONG = "too_long"
END_OF_TEXT = "end_of_text"
NO_RESULT = "no_result"
# No tool is likely enough after the bracket. Never reported, since no call has opened.
UNLIKELY = "unlikely"

_ARROW_SIGN = ARROW.strip()


class CallChance(NamedTuple):
    """Rank (shared by equally likely tokens) and probability of ` [`; None if no call can open."""

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
    """Return `open_token` if a call may open (`may_open`), else the most likely other token.

    `ranked_tokens` has at least two tokens, most likely first. With a `call_top_k` of 1, calls open
    only as in greedy decoding; with 0, none opens. Paper: §4.2 (top k, at most one call per input).

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
    """Return whether rank and probability of ` [` both allow a call; a minimum of 1 allows none.

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
    """Return the first step after a prompt at which a call can open; None if there is none."""
    # All steps after the first have the same minimums.
    after_prompt, in_text = (smallest(min_call_probability.at(step, tools)) for step in (0, 1))
    for at, chance in enumerate(chances):
        least = in_text if at else after_prompt
        if may_open(*chance, call_top_k=call_top_k, min_call_probability=least):
            return at
    return None


def smallest(least: Mapping[str, float]) -> float:
    """Return the minimum for ` [` itself: the smallest minimum of any tool, or 0 without tools."""
    return min(least.values(), default=0.0)


def identify_tool(text: str, probability: float, *, least: Mapping[str, float]) -> str | None:
    """Return the tool that a text after ` [` names, once its name is complete and unambiguous.

    `probability` is p(` [`) times the probabilities of the tokens of `text`, so that p(tool | ` [`)
    does not depend on how the tokenizer splits names. `least` has each tool's minimum. Raise
    CallSyntaxError once no tool that the text can still name reaches its minimum.

    Example:
        >>> least = {"Calculator": 0.2, "Calendar": 0.05}
        >>> identify_tool("Cal", 0.1, least=least) is None
        True
        >>> identify_tool("Calendar", 0.1, least=least)
        'Calendar'
    """
    start = text.lstrip(" ")
    candidates = [tool for tool in least if _agree(start, f"{tool}(")]
    if not any(1 > least[tool] <= probability for tool in candidates):
        raise _failure(UNLIKELY, text)
    is_unambiguous = len(candidates) == 1 and start.startswith(candidates[0])
    return candidates[0] if is_unambiguous else None


def read_open_call(
    text: str,
    *,
    enabled_tools: Sequence[str],
    blocked_tools: Sequence[str],
    parse_arguments: Callable[[str, str], str] | None,
) -> ToolCall | None:
    """Return the call once the text after ` [` ends with the arrow; None while it is unfinished.

    Raise CallSyntaxError as soon as the text cannot become a call of an enabled tool.
    `blocked_tools` affects only the error's reason.

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
    # No other tool's name starts with `Name(`, so the tool is certain now.
    if "\n" in start:
        raise _failure(NEWLINE, text)
    before_arrow, arrow, after_arrow = start.partition(_ARROW_SIGN)
    if "[" in before_arrow:
        raise _failure(BRACKET_IN_ARGUMENTS, text)
    if CALL_CLOSE in before_arrow:
        raise _failure(NO_ARROW, text)
    if not arrow:
        return None
    if after_arrow:
        # The last token holds more than the arrow, so no result can directly follow the arrow.
        raise _failure(NOT_A_CALL, text)
    arguments = parse_sample(before_arrow + CALL_CLOSE, tool)
    if parse_arguments is not None:
        arguments = parse_arguments(tool, arguments)
    return ToolCall(tool, arguments)


def _agree(text: str, start: str) -> bool:
    return text.startswith(start) or start.startswith(text)


def _failure(reason: str, text: str) -> CallSyntaxError:
    return CallSyntaxError(
        reason, f"The text {text!r} cannot become a call ({reason}). Expected 'Name(…) ->'."
    )
