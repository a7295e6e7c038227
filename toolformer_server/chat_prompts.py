"""The prompt of a chat: by the template of the model, or by a plain one.

The plain one is

    text of the system

    User: …

    Assistant: …

and ends with `Assistant:`. The answer ends where the model would speak for the user.
"""

import re
from collections.abc import Sequence
from typing import Literal

from jinja2 import TemplateError

from toolformer.forward.tokenization import Tokenizer
from toolformer_server.api_errors import ApiError

_NAMES = {"system": "", "user": "User: ", "assistant": "Assistant: "}
_STOP_TEXTS = tuple(f"{gap}{name}:" for name in ("User", "Assistant") for gap in ("\n\n", "\n"))
# What the expressions of a template may raise.
_FAILURES = (
    *(TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError),
    RecursionError,
)


def chat_prompt(
    tokenizer: Tokenizer,
    turns: Sequence[dict[str, str]],
    *,
    template: Literal["own", "plain"] | None = None,
) -> tuple[str | list[int], tuple[str, ...]]:
    """The prompt behind which the model answers.

    Args:
        tokenizer: of the model, with its template.
        turns: messages, each with `role` and `content`.
        template: `own` of a model that has one, or `plain`; by default its own if it has one.

    Returns:
        Token ids with all special tokens where the template is the model's own, else a text; and
        what ends the answer, besides the model's end of text.

    Raises:
        ApiError: the template refuses the messages, fails, or there is none.
    """
    has_own = bool(tokenizer.backend.chat_template)
    if template == "own" and not has_own:
        message = "chat_template is 'own'. Expected 'plain': the model has none."
        raise ApiError(400, message, param="chat_template")
    if template == "plain" or not has_own:
        said = [f"{_NAMES[turn['role']]}{turn['content'].strip()}" for turn in turns]
        return "\n\n".join([*said, "Assistant:"]), _STOP_TEXTS
    names = sorted({tokenizer.token_text(token) for token in tokenizer.special_ids})
    special = re.compile("|".join(re.escape(name) for name in names if len(name) > 1) or r"(?!)")
    safe = [{**turn, "content": _broken(special, turn["content"])} for turn in turns]
    try:
        # Without special tokens: those of the template are all that there are.
        ids = tokenizer.backend.apply_chat_template(
            safe, add_generation_prompt=True, return_dict=False
        )
    except _FAILURES as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ApiError(
            400,
            f"The model's chat template does not take these messages ({reason}). Expected roles in "
            "an order that it knows.",
            param="messages",
        ) from error
    return list(ids), ()


def _broken(special: re.Pattern[str], text: str) -> str:
    """A text in which a blank stands in each special token: nobody's words open or end a turn."""
    return special.sub(lambda mark: f"{mark[0][0]} {mark[0][1:]}", text)
