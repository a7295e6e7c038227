"""Rows to train on of the finetuned model and of its controls, from the same texts."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from toolformer.augmentation import KeptCall, Segment, augmented_segments, check_places
from toolformer.base.digests import digest
from toolformer.forward.tokenization import Tokenizer
from toolformer.settings.training_sections import PLAIN, SHUFFLED, VARIANTS
from toolformer.training.chats import Chats
from toolformer.training.contexts import context_ids
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
    """The rows of a variant.

    Which part of a long text is kept, and where a chat's answer begins, is decided by its calls in
    C*, for every variant; a row that other calls make longer is cut at its end. A context has the
    room that the longest of the variants' rows leaves: its beginning goes before anything of a
    text. A row that begins within its text has none, since the text does not go on from there.

    Args:
        variant: one of `VARIANTS`.
        max_tokens: maximum length of a row, the beginning-of-sequence token included.
        chats: writes those with a `chat_draw` as chats, but where nothing would stand in front of
            the answer, or one of the variants' rows would have no room for it; None writes none.

    Raises:
        ValueError: there is no such variant.
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
        row_with = partial(_row, tokenizer, ids, length)
        room = partial(_room, row_with, [calls[index] for calls in calls_by_variant], length)
        chat = None if chats is None else _chat(chats, text, ids, kept_segments, length, room)
        if chat is not None:
            tokens, prompt = chat
            written += 1
            row = row_with(tokens, calls_of_text, prompt, PROMPT)
        else:
            context: list[int] = []
            if text.context is not None and tokens.start == 0:
                context = context_ids(tokenizer, text.context, room=room(tokens))
            row = row_with(tokens, calls_of_text, context)
        rows.append(row)
        calls.update(call.tool for call in calls_of_text if call.position in tokens)
    return VariantRows(tuple(rows), dict(sorted(calls.items())), len(texts) - len(rows), written)


def _row(
    tokenizer: Tokenizer,
    ids: Sequence[int],
    length: int,
    tokens: range,
    calls: Sequence[KeptCall],
    context: Sequence[int] = (),
    context_kind: int = TEXT,
) -> TrainingRow:
    segments = augmented_segments(tokenizer, ids, calls)
    return training_row(
        segments, tokens, max_tokens=length, context=context, context_kind=context_kind
    )


def _room(
    row_with: Callable[..., TrainingRow],
    others: Sequence[Sequence[KeptCall]],
    length: int,
    tokens: range,
) -> int:
    """Tokens that the longest of the variants' rows leaves."""
    return length - max(len(row_with(tokens, calls).ids) for calls in others)


def _chat(
    chats: Chats,
    text: TextWithCalls,
    ids: Sequence[int],
    kept_segments: Sequence[Segment],
    length: int,
    room: Callable[[range], int],
) -> tuple[range, list[int]] | None:
    """The tokens of a text that are a chat's answer, and what stands in front of them."""
    if text.chat_draw is None:
        return None
    tokens = kept_tokens(kept_segments, max_tokens=length - chats.frame)
    if not tokens:
        return None
    has_context = text.context is not None and not tokens.start
    chat = chats.chat(
        ids,
        tokens=tokens,
        first_call=min(
            (call.position for call in text.kept if call.position in tokens), default=None
        ),
        context=text.context if has_context else None,
        room=room(tokens) - chats.frame,
        draw=text.chat_draw,
    )
    if chat is None or len(chat.prompt) > room(range(chat.answer, tokens.stop)):
        return None
    return range(chat.answer, tokens.stop), chat.prompt


def calls_of_variant(
    texts: Sequence[TextWithCalls], variant: str, *, seed: int
) -> list[tuple[KeptCall, ...]]:
    """The calls of each text in a variant.

    Raises:
        ValueError: there is no such variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; expected one of {', '.join(VARIANTS)}")
    if variant == PLAIN:
        return [() for _ in texts]
    if variant == SHUFFLED:
        return _shuffled([text.kept for text in texts], seed)
    return [text.kept for text in texts]


def _shuffled(
    calls_of_texts: Sequence[tuple[KeptCall, ...]], seed: int
) -> list[tuple[KeptCall, ...]]:
    """Every result goes to another call of its tool.

    Calls with equal results stand together, in an order given by the seed, and all results move on
    by as many places as the commonest result has. So no call gets a result like its own, as long as
    no result is that of more than half of the calls.
    """
    by_tool: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for text, calls in enumerate(calls_of_texts):
        for index, call in enumerate(calls):
            by_tool[call.tool].append((text, index))
    shuffled = [list(calls) for calls in calls_of_texts]
    for places in by_tool.values():
        order = sorted(
            places,
            key=lambda where: (
                digest(seed, shuffled[where[0]][where[1]].result),
                digest(seed, shuffled[where[0]][where[1]].call_id),
            ),
        )
        results = [calls_of_texts[text][index].result for text, index in order]
        commonest = max(Counter(results).values())
        for number, (text, index) in enumerate(order):
            other = results[(number + commonest) % len(results)]
            shuffled[text][index] = dataclasses.replace(shuffled[text][index], result=other)
    return [tuple(calls) for calls in shuffled]
