"""Rows to train on of the finetuned model and of its controls, from the same texts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from toolformer.augmentation import KeptCall, Segment, augmented_segments, check_places
from toolformer.base.digests import digest
from toolformer.forward.tokenization import Tokenizer
from toolformer.settings.training_sections import PLAIN, SHUFFLED, VARIANTS
from toolformer.training.chats import Chats, context_ids
from toolformer.training.training_rows import PROMPT, TEXT, TrainingRow, kept_tokens, training_row

# Characters of a text that an error shows.
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class TextWithCalls:
    """A text to train on.

    Attributes:
        text: without calls.
        context: what stands in front of it; None where nothing does.
        kept: its calls in C*, at most one per position.
        is_behind: whether other text stood in front of it in its document.
        chat_draw: see `Chats.draw`; None where it is no chat.
    """

    text: str
    context: str | None
    kept: tuple[KeptCall, ...]
    is_behind: bool = False
    chat_draw: float | None = None


@dataclass(frozen=True, slots=True)
class VariantRows:
    """What one variant is trained on.

    Attributes:
        rows: rows of the texts that have one, in their order; the same texts for every variant.
        calls: how many calls of each tool stand in them.
        texts_without_row: texts of which no kept call fits into a row.
        chats: how many rows are chats.
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
    """Return the rows of a variant.

    Which part of a long text is kept, and where a chat's answer begins, is decided by its calls in
    C*, for every variant; a row that other calls make longer is cut at its end. A context has the
    room that the longest of the variants' rows leaves: its beginning goes before anything of a
    text. A row that begins within its text has none, since the text does not go on from there.

    Args:
        max_tokens: maximum length of a row, the beginning-of-sequence token included.
        chats: writes those with a `chat_draw` as chats, but where nothing would stand in front of
            the answer, or one of the variants' rows would have no room for it; None writes none.

    Raises:
        ToolformerError: calls were counted in the tokens of another vocabulary.
    """
    # One place of the row belongs to the beginning-of-sequence token.
    length = max_tokens - 1
    own_calls = calls_of_variant(texts, variant, seed=seed)
    # Of all variants only where something in front has to leave room for them.
    is_led = chats is not None or any(text.context is not None for text in texts)
    calls_by_variant = [
        calls_of_variant(texts, other, seed=seed) for other in (VARIANTS if is_led else ())
    ]
    rows: list[TrainingRow] = []
    calls: Counter[str] = Counter()
    written = 0
    for index, (text, calls_of_text) in enumerate(zip(texts, own_calls, strict=True)):
        ids, offsets = tokenizer.encode_with_offsets(text.text, is_behind=text.is_behind)
        check_places(text.kept, offsets, of=f"the text {text.text[:_SHOWN]!r}")
        kept_segments = augmented_segments(tokenizer, ids, text.kept)
        tokens = kept_tokens(kept_segments, max_tokens=length)
        if tokens is None:
            continue
        others = [calls_of_other[index] for calls_of_other in calls_by_variant]
        tokenised = _TokenisedText(tokenizer, ids, length, others)
        chat = None if chats is None else _chat(chats, text, tokenised, kept_segments)
        if chat is not None:
            tokens, prompt = chat
            written += 1
            row = tokenised.row(tokens, calls_of_text, prompt, PROMPT)
        else:
            context: list[int] = []
            if text.context is not None and tokens.start == 0:
                context = context_ids(tokenizer, text.context, room=tokenised.room(tokens))
            row = tokenised.row(tokens, calls_of_text, context)
        rows.append(row)
        calls.update(call.tool for call in calls_of_text if call.position in tokens)
    return VariantRows(tuple(rows), dict(sorted(calls.items())), len(texts) - len(rows), written)


@dataclass(frozen=True, slots=True)
class _TokenisedText:
    """A text in tokens.

    Attributes:
        length: maximum length of a row.
        others: the calls of each variant that what stands in front has to leave room for.
    """

    tokenizer: Tokenizer
    ids: Sequence[int]
    length: int
    others: Sequence[Sequence[KeptCall]]

    def row(
        self,
        tokens: range,
        calls: Sequence[KeptCall],
        context: Sequence[int] = (),
        kind: int = TEXT,
    ) -> TrainingRow:
        segments = augmented_segments(self.tokenizer, self.ids, calls)
        return training_row(
            segments, tokens, max_tokens=self.length, context=context, context_kind=kind
        )

    def room(self, tokens: range) -> int:
        """Return how many tokens the longest of the variants' rows leaves."""
        return self.length - max(len(self.row(tokens, calls).ids) for calls in self.others)


def _chat(
    chats: Chats, text: TextWithCalls, tokenised: _TokenisedText, kept_segments: Sequence[Segment]
) -> tuple[range, list[int]] | None:
    """Return the tokens of a text that are a chat's answer, and what stands in front of them."""
    if text.chat_draw is None:
        return None
    tokens = kept_tokens(kept_segments, max_tokens=tokenised.length - chats.frame)
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
    """Return the calls of each text in a variant."""
    if variant == PLAIN:
        return [() for _ in texts]
    if variant == SHUFFLED:
        return _shuffled([text.kept for text in texts], seed)
    return [text.kept for text in texts]


def _shuffled(
    calls_of_texts: Sequence[tuple[KeptCall, ...]], seed: int
) -> list[tuple[KeptCall, ...]]:
    """Return every call with the result of another call of its tool.

    Calls with equal results stand together, in an order given by the seed, and all results move on
    by as many places as the commonest result has. So no call gets a result like its own, as long as
    no result is that of more than half of the calls.
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
        commonest = max(Counter(calls[number].result for number in order).values())
        for place, number in enumerate(order):
            results[number] = calls[order[(place + commonest) % len(order)]].result
    others = iter(results)
    return [
        tuple(replace(call, result=next(others)) for call in calls_of_text)
        for calls_of_text in calls_of_texts
    ]
