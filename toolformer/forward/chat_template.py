"""Renders conversations as prompts, with the chat template of the tokenizer or as plain text."""

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any

from toolformer.base.constants import MONTHS, WEEKDAYS
from toolformer.errors import ChatTemplateError
from toolformer.forward.tokenization import Tokenizer
from toolformer.markup import defused_markup

# Expressions in a template may raise these in addition to jinja2's own errors.
_FAILURES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
# Numeric format codes of `strftime` that templates use.
_NUMBER_CODES = "dmyYjHMS"
_PLAIN = (
    "{{% for message in messages %}}{{{{ {start} if loop.first else '\\n\\n' }}}}"
    "{{{{ message.content | trim }}}}{{% endfor %}}"
)


def has_chat_template(tokenizer: Tokenizer) -> bool:
    return bool(tokenizer.backend.chat_template)


def chat_ids(
    tokenizer: Tokenizer,
    turns: Sequence[Mapping[str, str]],
    *,
    start: int,
    today: datetime.date | None = None,
) -> list[int]:
    """Return the tokens of a conversation, up to the answer, without the start token.

    Only the template writes special tokens: if the content of a turn spells one, a space breaks it.
    `today` is the date that templates write; by default the current date.
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
            raise ValueError("it renders an empty prompt")
    except (TemplateError, *_FAILURES) as error:
        raise ChatTemplateError(" ".join(str(error).split()).rstrip(".")) from error
    return list(ids[ids[0] == start :])


def plain_template(tokenizer: Tokenizer, start: int) -> str:
    """Return a chat template that renders `plain_prompt` after the start token."""
    name = tokenizer.token_text(start)
    if tokenizer.backend.encode(f"{name}a", add_special_tokens=False)[1:] != tokenizer.encode("a"):
        # Some tokenizers add their prefix space only at the start of a text, not after a special
        # token.
        name += tokenizer.prefix
    return _PLAIN.format(start=repr(name))


def plain_prompt(turns: Sequence[Mapping[str, str]]) -> str:
    r"""Return the turns as one text, separated by empty lines.

    A model finetuned on plain texts calls tools in this form. It has never seen role names.

    Example:
        >>> plain_prompt([{"content": "Hello."}, {"content": "6 times 7 is "}])
        'Hello.\n\n6 times 7 is'
    """
    return "\n\n".join(turn["content"].strip() for turn in turns)


def _dated(template: str, today: datetime.date) -> str:
    """Return a template with a fixed date; transformers accepts no custom date function."""
    day, month = WEEKDAYS[today.weekday()], MONTHS[today.month - 1]
    written = {"A": day, "a": day[:3], "B": month, "b": month[:3], "p": "AM"}
    written |= {code: today.strftime(f"%{code}") for code in _NUMBER_CODES}
    replaced = "".join(f"|replace('%{code}', '{text}')" for code, text in written.items())
    return f"{{% macro strftime_now(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}{template}"
