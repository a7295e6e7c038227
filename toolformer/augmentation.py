"""Merges the kept calls of all tools and inserts them into their texts: the dataset C* (paper §2).

Later stages find calls by their stored offsets. They never parse calls out of a text, since the
text may contain brackets of its own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from toolformer.calls import call_ids, name_ids, request_ids
from toolformer.errors import ToolformerError
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window
from tools.protocol import ToolCall
from tools.syntax import format_call, insert_calls, remove_calls


@dataclass(frozen=True, slots=True)
class KeptCall:
    """A call that passed the filter.

    `position` is a token index and `character_offset` a character index in the window.
    `loss_reduction` is L_i⁻ - L_i⁺ in nats.
    """

    call_id: str
    position: int
    character_offset: int
    tool: str
    arguments: str
    result: str
    loss_reduction: float

    @property
    def text(self) -> str:
        """e(c, r) as text, including the space before its opening bracket."""
        return format_call(ToolCall(self.tool, self.arguments), self.result)


class Segment(NamedTuple):
    """Unit that training rows never split: one token of the text, or one whole call.

    Attributes:
        request_length: number of tokens of a call up to its arrow, which the model writes itself;
            None for a token of the text.
        name_length: number of tokens of `Tool(` after ` [`; 0 for a token of the text.
    """

    ids: list[int]
    request_length: int | None
    name_length: int = 0


def one_call_per_position(calls: Iterable[KeptCall]) -> list[KeptCall]:
    """Return the best call at each position, from left to right.

    The call with the largest loss reduction is best. Ties go to the shorter result, then to the
    earlier call in `calls`.
    """
    best: dict[int, KeptCall] = {}
    for call in calls:
        rival = best.get(call.position)
        if rival is None or _rank(call) < _rank(rival):
            best[call.position] = call
    return [best[position] for position in sorted(best)]


def _rank(call: KeptCall) -> tuple[float, int]:
    return -call.loss_reduction, len(call.result)


def augmented_text(text: str, calls: Sequence[KeptCall]) -> str:
    """Return the text with its calls inserted: x_{1:i-1} e(c, r) x_{i:n}."""
    return insert_calls(text, [(call.character_offset, call.text) for call in calls])


def augmented_segments(
    tokenizer: Tokenizer, ids: Sequence[int], calls: Sequence[KeptCall]
) -> list[Segment]:
    """Return the window's tokens with the calls between them: x[:p] + call + x[p:]."""
    by_position = {call.position: call for call in calls}
    segments: list[Segment] = []
    for position, token in enumerate(ids):
        call = by_position.get(position)
        if call is not None:
            tool_call = ToolCall(call.tool, call.arguments)
            segments.append(
                Segment(
                    call_ids(tokenizer, tool_call, call.result),
                    len(request_ids(tokenizer, tool_call)),
                    len(name_ids(tokenizer, tool_call)),
                )
            )
        segments.append(Segment([token], None))
    return segments


def check_round_trip(window: Window, calls: Sequence[KeptCall]) -> None:
    """Raise ToolformerError unless removing the calls by their offsets restores the text."""
    name = f"window {window.index} of document {window.document_id}"
    check_call_offsets(calls, window.offsets, of=name)
    inserted = [(call.character_offset, call.text) for call in calls]
    if remove_calls(insert_calls(window.text, inserted), inserted) != window.text:
        raise _misplaced(calls, name)


def check_call_offsets(
    calls: Sequence[KeptCall], offsets: Sequence[int | None], *, of: str
) -> None:
    """Raise ToolformerError if a call is not at a token boundary; `of` names the text."""
    misplaced = [
        call
        for call in calls
        if not 0 <= call.position < len(offsets) or offsets[call.position] != call.character_offset
    ]
    if misplaced:
        raise _misplaced(misplaced, of)


def _misplaced(calls: Sequence[KeptCall], of: str) -> ToolformerError:
    return ToolformerError(
        f"The calls {', '.join(call.call_id for call in calls)} do not fit {of}. Expected "
        "positions at its token boundaries, but the stored calls come from another model or "
        "window size. Build the shard again with `toolformer build`."
    )
