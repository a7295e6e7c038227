"""What stands in front of a text in training: its context, or a question in a chat.

    What is two and two?       the context, closed by a line break and never annotated
    Two and two is 4.          the text, with its calls

The two are tokenised apart, so the text has the tokens that were annotated. A share of the texts is
written as the model's own chat template writes a conversation:

    user        the context of the text; of one without context its beginning
    assistant   the text, or what is left of it, with its calls

Chats are not in the paper: with them the model calls tools in chat clients too. Tokens before the
answer have no weight in the loss, since users and the template write them.
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

# For templates that tell the date: rows are the same on any day.
_TODAY = datetime.date(2023, 2, 9)


def context_ids(tokenizer: Tokenizer, context: str, *, room: int) -> list[int]:
    """Return at most `room` tokens of a context; of a longer one the beginning is cut off."""
    ids = tokenizer.encode(text_in_context(context, ""))
    return ids[max(len(ids) - room, 0) :]


def window_in_context(
    window: Window, context: str | None, tokenizer: Tokenizer, *, max_tokens: int
) -> Window:
    """Return a window behind its context, as in a training row without calls.

    No call can stand in the context. `start` moves with it, and may be negative: `start` and an
    offset still give a place in the document.

    Args:
        max_tokens: maximum length of a training row, the beginning-of-sequence token included.
    """
    if context is None:
        return window
    ids = context_ids(tokenizer, context, room=max_tokens - 1 - len(window.ids))
    in_front = text_in_context(context, "")
    if ids != tokenizer.encode(in_front):
        in_front = tokenizer.decode_behind(ids)
    return _window_behind(window, in_front, ids)


def _window_behind(window: Window, in_front: str, ids: Sequence[int], *, first: int = 0) -> Window:
    """Return a window, from its token `first` on, behind another text and its tokens."""
    cut = (window.offsets[first] or 0) if first else 0
    moved = len(in_front) - cut
    behind = (None if offset is None else moved + offset for offset in window.offsets[first:])
    return replace(
        window,
        start=window.start - moved,
        text=in_front + window.text[cut:],
        ids=(*ids, *window.ids[first:]),
        offsets=(*[None] * len(ids), *behind),
    )


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
        """Return where in [0, 1) a chosen text is cut; None for a text that stays plain.

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
    ) -> tuple[int, list[int]] | None:
        """Write a text, or a part of it, as a conversation.

        With a context the answer is the text. Else every other text is cut right in front of its
        first call, and the others before any of their words up to there: the answers of chat
        clients begin with a call or come to one later.

        Args:
            ids: tokens of the text, without calls.
            tokens: positions of those that stand in the row.
            first_call: position of the first kept call among them; None where there is none.
            room: most tokens of a context, whose beginning goes where it is longer.

        Returns:
            Position in the text at which the answer begins, and the tokens before it without the
            start token; None if nothing stands in front of the answer.
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
    """Return a window as in a training row without calls: as a chat, or behind its context.

    Args:
        first_call: position of its first kept call; None where it has none.
        chats: what writes chats; None where none is wanted.
        max_tokens: maximum length of a training row, the beginning-of-sequence token included.
    """
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
    return _window_behind(window, tokenizer.decode_behind(prompt), prompt, first=answer)


def chats_of(tokenizer: Tokenizer, settings: Settings) -> Chats | None:
    """Return what writes texts as chats; None if none is wanted or no template takes a question."""
    share, seed = settings.training.chat_share, settings.training.seed
    start = start_token(tokenizer, settings.language_model.bos_token)
    try:
        return Chats(tokenizer, start, share=share, seed=seed) if share else None
    except ChatTemplateError:
        return None
