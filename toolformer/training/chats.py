"""Prepends contexts to training texts, and writes a share of the texts as chats.

Context and text are tokenised separately, so the text keeps the tokens that were annotated. In a
chat, the user's message is the context or, without one, the beginning of the text; the rest is the
answer. The paper has no chats; with them, the model also learns to call tools in chat clients.
Tokens before the answer have no weight in the loss, because the user and the template write them.
"""

import datetime
from collections.abc import Sequence
from dataclasses import replace

from toolformer.errors import ChatTemplateError
from toolformer.forward.chat_template import chat_ids
from toolformer.forward.start_token import start_token
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window, WindowKey
from toolformer.settings.sections import Settings
from toolformer.training.training_set import random_rank, text_in_context

# Fixed date for templates that state the current date, so that rows do not depend on the day.
_TODAY = datetime.date(2023, 2, 9)


def context_ids(tokenizer: Tokenizer, context: str, *, room: int) -> list[int]:
    """Return the tokens of a context, without its beginning if it has more than `room` tokens."""
    ids = tokenizer.encode(text_in_context(context, ""))
    return ids[max(len(ids) - room, 0) :]


def window_in_context(
    window: Window, context: str | None, tokenizer: Tokenizer, *, max_tokens: int
) -> Window:
    """Return a window with its context prepended, as in a training row without calls.

    The context's tokens have no offsets, so no call can be inserted there. `start` may become
    negative, since `start` plus an offset must remain a position in the document.
    """
    if context is None:
        return window
    ids = context_ids(tokenizer, context, room=max_tokens - 1 - len(window.ids))
    prefix = text_in_context(context, "")
    if ids != tokenizer.encode(prefix):
        prefix = tokenizer.decode_continuation(ids)
    return _with_prefix(window, prefix, ids)


def _with_prefix(
    window: Window, prefix: str, prefix_ids: Sequence[int], *, first: int = 0
) -> Window:
    cut = (window.offsets[first] or 0) if first else 0
    shift = len(prefix) - cut
    offsets = (None if offset is None else shift + offset for offset in window.offsets[first:])
    return replace(
        window,
        start=window.start - shift,
        text=prefix + window.text[cut:],
        ids=(*prefix_ids, *window.ids[first:]),
        offsets=(*[None] * len(prefix_ids), *offsets),
    )


class Chats:
    """Writes a share of the training texts, in [0, 1], as conversations."""

    def __init__(self, tokenizer: Tokenizer, start: int, *, share: float, seed: int) -> None:
        self._tokenizer = tokenizer
        self._start = start
        self._share, self._seed = share, seed
        self.frame = len(self._prompt("a"))

    def draw(self, key: WindowKey) -> float | None:
        """Return a number in [0, 1) that decides where to cut a text; None if it is no chat.

        It depends only on text and seed, so all variants write the same texts as chats.
        """
        rank = random_rank(self._seed, "chat", *key) / 2**64
        return rank / self._share if rank < self._share else None

    def chat(
        self,
        ids: Sequence[int],
        *,
        tokens: range,
        first_call: int | None,
        context: str | None,
        room: int,
        draw: float,
    ) -> tuple[int, list[int]] | None:
        """Return the answer's first token in the text, and the prompt's ids without start token.

        A context becomes the question; if it has more than `room` tokens, its beginning is cut off.
        Without a context, half of the texts are cut right before their first call, and the other
        half before a random word up to that call, because a chat's answer may start with a call or
        call later. Returns None if the question would be empty.
        """
        if context is not None:
            question_ids, answer = self._tokenizer.encode(context), 0
            question_ids = question_ids[max(len(question_ids) - max(room, 0), 0) :]
        else:
            end = tokens.stop if first_call is None else first_call + 1
            words = [
                position
                for position in range(tokens.start + 1, end)
                if self._tokenizer.token_text(ids[position])[:1].isspace()
            ]
            if first_call is not None and first_call > tokens.start and draw < 0.5:
                answer = first_call
            elif words:
                answer = words[int(2 * draw % 1 * len(words))]
            else:
                return None
            question_ids = ids[tokens.start : answer]
        question = self._tokenizer.decode_continuation(question_ids).strip()
        return (answer, self._prompt(question)) if question else None

    def _prompt(self, question: str) -> list[int]:
        turns = [{"role": "user", "content": question}]
        return chat_ids(self._tokenizer, turns, start=self._start, today=_TODAY)


def window_as_trained(
    window: Window,
    context: str | None,
    first_call: int | None,
    *,
    tokenizer: Tokenizer,
    chats: Chats | None,
    max_tokens: int,
) -> Window:
    """Return a window as in a training row without calls: as a chat, or with its context."""
    chat = None
    if chats is not None and (draw := chats.draw(window.key)) is not None:
        chat = chats.chat(
            window.ids,
            tokens=range(len(window.ids)),
            first_call=first_call,
            context=context,
            room=max_tokens - 1 - len(window.ids) - chats.frame,
            draw=draw,
        )
    if chat is None:
        return window_in_context(window, context, tokenizer, max_tokens=max_tokens)
    answer, prompt = chat
    return _with_prefix(window, tokenizer.decode_continuation(prompt), prompt, first=answer)


def chat_formatter(tokenizer: Tokenizer, settings: Settings) -> Chats | None:
    """Return the writer of chats, or None if `training.chat_share` is 0 or no template works."""
    share, seed = settings.training.chat_share, settings.training.seed
    start = start_token(tokenizer, settings.language_model.bos_token)
    try:
        return Chats(tokenizer, start, share=share, seed=seed) if share else None
    except ChatTemplateError:
        return None
