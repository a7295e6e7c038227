"""Builds the training rows of the finetuned model and of its controls from the same texts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from toolformer.augmentation import KeptCall, Segment, augmented_segments, check_call_offsets
from toolformer.base.digests import digest
from toolformer.forward.tokenization import Tokenizer
from toolformer.settings.training_sections import PLAIN, SHUFFLED, VARIANTS
from toolformer.training.chats import Chats, context_ids
from toolformer.training.training_rows import PROMPT, TEXT, TrainingRow, kept_tokens, training_row

# Length of the excerpt in an error, in characters.
_MAX_EXCERPT = 60


@dataclass(frozen=True, slots=True)
class TextWithCalls:
    """Text to train on, with its calls in C* (at most one per position).

    Attributes:
        is_continuation: Whether other text precedes it in its document.
        chat_draw: Result of `Chats.draw`; None if the text is not written as a chat.
    """

    text: str
    context: str | None
    kept: tuple[KeptCall, ...]
    is_continuation: bool = False
    chat_draw: float | None = None


@dataclass(frozen=True, slots=True)
class VariantRows:
    """Training rows of one variant, in the order of their texts.

    All variants have rows of the same texts. A text has no row if none of its kept calls fits.
    """

    rows: tuple[TrainingRow, ...]
    calls: Mapping[str, int]
    texts_without_row: int
    chats: int


def variant_rows(
    tokenizer: Tokenizer,
    texts: Sequence[TextWithCalls],
    variant: str,
    *,
    max_tokens: int,
    seed: int,
    chats: Chats | None = None,
) -> VariantRows:
    """Return the rows of a variant, of at most `max_tokens` tokens including the start token.

    The calls in C* decide for every variant which part of a long text is kept and where the answer
    of a chat begins. A row that becomes longer with other calls is truncated at its end. A context
    gets the room that the longest row of any variant leaves; a longer context loses its beginning.
    A row that begins within its text has no context, since the two would not be adjacent. A text
    with a `chat_draw` becomes a chat unless the question would be empty or would not fit.
    """
    # Leave room for the beginning-of-sequence token.
    length = max_tokens - 1
    own_calls = calls_of_variant(texts, variant, seed=seed)
    # The calls of the other variants only affect how much room a context or question gets.
    has_contexts = chats is not None or any(text.context is not None for text in texts)
    calls_by_variant = [
        calls_of_variant(texts, other, seed=seed) for other in (VARIANTS if has_contexts else ())
    ]
    rows: list[TrainingRow] = []
    calls: Counter[str] = Counter()
    num_chats = 0
    for index, (text, calls_of_text) in enumerate(zip(texts, own_calls, strict=True)):
        ids, offsets = tokenizer.encode_with_offsets(
            text.text, is_continuation=text.is_continuation
        )
        check_call_offsets(text.kept, offsets, of=f"the text {text.text[:_MAX_EXCERPT]!r}")
        kept_segments = augmented_segments(tokenizer, ids, text.kept)
        tokens = kept_tokens(kept_segments, max_tokens=length)
        if tokens is None:
            continue
        others = [calls_of_other[index] for calls_of_other in calls_by_variant]
        tokenised = _TokenisedText(tokenizer, ids, length, others)
        chat = None if chats is None else _chat(chats, text, tokenised, kept_segments)
        if chat is not None:
            tokens, prompt = chat
            num_chats += 1
            row = tokenised.row(tokens, calls_of_text, prompt, PROMPT)
        else:
            context: list[int] = []
            if text.context is not None and tokens.start == 0:
                context = context_ids(tokenizer, text.context, room=tokenised.room(tokens))
            row = tokenised.row(tokens, calls_of_text, context)
        rows.append(row)
        calls.update(call.tool for call in calls_of_text if call.position in tokens)
    return VariantRows(tuple(rows), dict(sorted(calls.items())), len(texts) - len(rows), num_chats)


@dataclass(frozen=True, slots=True)
class _TokenisedText:
    """Text as token ids, with the calls of each variant; `max_length` is that of its row."""

    tokenizer: Tokenizer
    ids: Sequence[int]
    max_length: int
    calls_by_variant: Sequence[Sequence[KeptCall]]

    def row(
        self,
        tokens: range,
        calls: Sequence[KeptCall],
        context: Sequence[int] = (),
        kind: int = TEXT,
    ) -> TrainingRow:
        segments = augmented_segments(self.tokenizer, self.ids, calls)
        return training_row(
            segments, tokens, max_tokens=self.max_length, context=context, context_kind=kind
        )

    def room(self, tokens: range) -> int:
        """Return how many tokens the longest row of any variant leaves free."""
        longest = max(len(self.row(tokens, calls).ids) for calls in self.calls_by_variant)
        return self.max_length - longest


def _chat(
    chats: Chats, text: TextWithCalls, tokenised: _TokenisedText, kept_segments: Sequence[Segment]
) -> tuple[range, list[int]] | None:
    """Return the answer's token range and the prompt's ids, or None if the text is no chat."""
    if text.chat_draw is None:
        return None
    tokens = kept_tokens(kept_segments, max_tokens=tokenised.max_length - chats.frame)
    if not tokens:
        return None
    positions = [call.position for call in text.kept if call.position in tokens]
    chat = chats.chat(
        tokenised.ids,
        tokens=tokens,
        first_call=min(positions, default=None),
        context=None if tokens.start else text.context,
        room=tokenised.room(tokens) - chats.frame,
        draw=text.chat_draw,
    )
    if chat is None:
        return None
    first, prompt = chat
    answer = range(first, tokens.stop)
    return (answer, prompt) if len(prompt) <= tokenised.room(answer) else None


def calls_of_variant(
    texts: Sequence[TextWithCalls], variant: str, *, seed: int
) -> list[tuple[KeptCall, ...]]:
    if variant == PLAIN:
        return [() for _ in texts]
    if variant == SHUFFLED:
        return _shuffled([text.kept for text in texts], seed)
    return [text.kept for text in texts]


def _shuffled(
    calls_of_texts: Sequence[tuple[KeptCall, ...]], seed: int
) -> list[tuple[KeptCall, ...]]:
    """Replace the result of every call by the result of another call of the same tool.

    Calls are ordered so that equal results are adjacent, and results are then rotated by the count
    of the most common one. No call keeps an equal result unless more than half of them share it.
    """
    calls = list(chain.from_iterable(calls_of_texts))
    results = [call.result for call in calls]
    for tool in {call.tool for call in calls}:
        order = sorted(
            (number for number, call in enumerate(calls) if call.tool == tool),
            key=lambda number: (
                digest(seed, calls[number].result),
                digest(seed, calls[number].call_id),
            ),
        )
        shift = max(Counter(calls[number].result for number in order).values())
        for position, number in enumerate(order):
            results[number] = calls[order[(position + shift) % len(order)]].result
    shuffled = iter(results)
    return [
        tuple(replace(call, result=next(shuffled)) for call in calls_of_text)
        for calls_of_text in calls_of_texts
    ]
