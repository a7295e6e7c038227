"""Texts to train on that are written as the model's own chat template writes a conversation.

    user        the context of the text; of one without context its beginning
    assistant   the text, or what is left of it, with its calls

Not in the paper. So whoever opens a chat client sees a model that calls there too. Up to the answer
nothing counts in the loss: users and the template write it, and never the model.
"""

import datetime
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from toolformer.forward.chat_template import chat_ids
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window, WindowKey
from toolformer.training.contexts import window_in_context
from toolformer.training.training_set import random_rank

# For templates that tell the date: rows are the same on any day.
_TODAY = datetime.date(2023, 2, 9)


class Chat(NamedTuple):
    """A text as a conversation.

    Attributes:
        prompt: tokens up to the answer, without the start token.
        answer: position in the text at which the answer begins.
    """

    prompt: list[int]
    answer: int


class Chats:
    """Writes a share of the texts as conversations.

    Args:
        share: of the texts, in [0, 1].
        seed: seed of the choice of texts, and of where they are cut.

    Attributes:
        frame: tokens that the template puts around a question.

    Raises:
        ChatTemplateError: the model has no template, or none that takes a question.
    """

    def __init__(self, tokenizer: Tokenizer, start: int, *, share: float, seed: int) -> None:
        self._tokenizer = tokenizer
        self._start = start
        self._share, self._seed = share, seed
        self.frame = len(self._prompt("a"))

    def draw(self, key: WindowKey) -> float | None:
        """The number in [0, 1) that says where a chosen text is cut; None of texts that stay plain.

        It follows from text and seed alone, so all variants have the same texts in the same form.
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
    ) -> Chat | None:
        """A text, or a part of it, as a conversation.

        With a context the answer is the text. Else every other text is cut right in front of its
        first call, and the others before any of their words up to there: the answers of chat
        clients begin with a call or come to one later.

        Args:
            ids: tokens of the text, without calls.
            tokens: positions of those that stand in the row.
            first_call: position of the first kept call among them; None where there is none.
            room: most tokens of a context, whose beginning goes where it is longer.

        Returns:
            None where nothing stands in front of the answer.
        """
        if context is not None:
            asked, answer = self._tokenizer.encode(context), 0
            asked = asked[max(len(asked) - max(room, 0), 0) :]
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
            asked = ids[tokens.start : answer]
        question = self._tokenizer.decode_behind(asked).strip()
        return Chat(self._prompt(question), answer) if question else None

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
    """A window of a text as in a training row without calls: as a chat, or behind its context.

    Args:
        first_call: position of its first kept call; None where it has none.
        chats: what writes chats; None where none is wanted.
        tokenizer, max_tokens: see `window_in_context`.
    """
    draw = None if chats is None else chats.draw(window.key)
    chat = None
    if chats is not None and draw is not None:
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
    in_front, cut = tokenizer.decode_behind(chat.prompt), window.offsets[chat.answer] or 0
    moved = len(in_front) - cut
    behind = window.offsets[chat.answer :]
    return replace(
        window,
        start=window.start - moved,
        text=in_front + window.text[cut:],
        ids=(*chat.prompt, *window.ids[chat.answer :]),
        offsets=(
            *[None] * len(chat.prompt),
            *(None if offset is None else moved + offset for offset in behind),
        ),
    )
