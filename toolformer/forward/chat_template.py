"""Prompts of conversations: by the chat template of a model's own tokenizer, or without one."""

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any

from toolformer.base.constants import MONTHS, WEEKDAYS
from toolformer.errors import ChatTemplateError
from toolformer.forward.tokenization import Tokenizer
from toolformer.markup import defused_markup

# What the expressions of a template may raise besides.
_FAILURES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
# What templates write a date with, besides names.
_NUMBER_CODES = "dmyYjHMS"
_PLAIN = (
    "{{% for message in messages %}}{{{{ {start} if loop.first else '\\n\\n' }}}}"
    "{{{{ message.content | trim }}}}{{% endfor %}}"
)


def has_chat_template(tokenizer: Tokenizer) -> bool:
    """Whether a model says how a conversation is written."""
    return bool(tokenizer.backend.chat_template)


def chat_ids(
    tokenizer: Tokenizer,
    turns: Sequence[Mapping[str, str]],
    *,
    start: int,
    today: datetime.date | None = None,
) -> list[int]:
    """The tokens of a conversation, up to where the model answers.

    The special tokens are those of the template alone: in a turn that spells one a blank breaks it,
    so nobody's words open a turn.

    Args:
        turns: each with its role and content.
        start: the start token, which stands in front of every text; a template that writes it too
            does not make it two.
        today: the date for templates that tell one; by default the clock's.

    Returns:
        Token ids without the start token in front.

    Raises:
        ChatTemplateError: the model has no template, or it refuses these turns, fails, or leaves
            nothing of them.
    """
    from jinja2 import TemplateError

    if not has_chat_template(tokenizer):
        raise ChatTemplateError("the model has none")
    names = {tokenizer.token_text(token) for token in tokenizer.special_ids}
    special = re.compile("|".join(re.escape(name) for name in names if len(name) > 1) or r"(?!)")
    safe_turns = [
        {**turn, "content": special.sub(defused_markup, turn["content"])} for turn in turns
    ]
    options: dict[str, Any] = {"add_generation_prompt": True, "return_dict": False}
    try:
        if today is not None:
            options["chat_template"] = _dated(tokenizer.backend.get_chat_template(), today)
        ids: Any = tokenizer.backend.apply_chat_template(safe_turns, **options)
        if not ids:
            raise ValueError("it leaves nothing of them")
    except (TemplateError, *_FAILURES) as error:
        raise ChatTemplateError(" ".join(str(error).split()).rstrip(".")) from error
    return list(ids[ids[0] == start :])


def plain_template(tokenizer: Tokenizer, start: int) -> str:
    """The template that writes `plain_prompt` behind the start token, as prompts stand there."""
    name = tokenizer.token_text(start)
    if tokenizer.backend.encode(f"{name}a", add_special_tokens=False)[1:] != tokenizer.encode("a"):
        # Some put their blank in front of a text alone, and none behind a special token.
        name += tokenizer.prefix
    return _PLAIN.format(start=repr(name))


def plain_prompt(turns: Sequence[Mapping[str, str]]) -> str:
    r"""The turns as one text, with an empty line between two, for a model to go on with.

    So a model that was finetuned on plain texts calls its tools as it does in these; names of the
    roles in front of the turns would be a form that it never saw.

    Example:
        >>> plain_prompt([{"content": "Hello."}, {"content": "6 times 7 is "}])
        'Hello.\n\n6 times 7 is'
    """
    return "\n\n".join(turn["content"].strip() for turn in turns)


def _dated(template: str, today: datetime.date) -> str:
    """A template whose clock stands still; transformers lets no function of ours into it."""
    day, month = WEEKDAYS[today.weekday()], MONTHS[today.month - 1]
    written = {"A": day, "a": day[:3], "B": month, "b": month[:3], "p": "AM"}
    written |= {code: today.strftime(f"%{code}") for code in _NUMBER_CODES}
    replaced = "".join(f"|replace('%{code}', '{text}')" for code, text in written.items())
    return f"{{% macro strftime_now(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}{template}"
