"""C*: kept calls of all tools merged and inserted into their texts (paper §2).

Calls live as offsets beside the text and are never parsed out of it again.
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

    Attributes:
        position: 0-based token position in the window.
        character_offset: the same place in the window's text.
        loss_reduction: L_i⁻ - L_i⁺ in nats.
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
        """e(c, r) as text, with the space that belongs to its opening marker."""
        return format_call(ToolCall(self.tool, self.arguments), self.result)


class Segment(NamedTuple):
    """Tokens that are not cut apart: one of the text, or all of a call.

    Attributes:
        request_length: of a call, how many tokens the model writes itself, up to the arrow; the
            result and the bracket behind it are the tool's. None for a token of the text.
        name_length: how many of these, behind the opening one, are the tool's name with the
            parenthesis behind it.
    """

    ids: list[int]
    request_length: int | None
    name_length: int = 0


def one_call_per_position(calls: Iterable[KeptCall]) -> list[KeptCall]:
    """Settle the competition of calls, of one tool or several, for the same position.

    The largest loss reduction wins; then the shorter result; then the first sampled, which is
    the order of `calls`.

    Returns:
        At most one call per position, from left to right.
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
    """The text with its calls inserted, x_{1:i-1} e(c, r) x_{i:n} for each."""
    return insert_calls(text, [(call.character_offset, call.text) for call in calls])


def augmented_segments(
    tokenizer: Tokenizer, ids: Sequence[int], calls: Sequence[KeptCall]
) -> list[Segment]:
    """The window's tokens with the calls between them.

    Returns:
        Segments in order: a call is one, every text token is one. Joined they are
        x[:p] + call + x[p:] for each call.
    """
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
    """Assert that taking the calls out by their offsets gives the text back.

    Raises:
        ToolformerError: an offset or a position does not belong to this window.
    """
    named = f"window {window.index} of document {window.document_id}"
    check_call_offsets(calls, window.offsets, of=named)
    inserted = [(call.character_offset, call.text) for call in calls]
    if remove_calls(insert_calls(window.text, inserted), inserted) != window.text:
        raise _misplaced(calls, named)


def check_call_offsets(
    calls: Sequence[KeptCall], offsets: Sequence[int | None], *, of: str
) -> None:
    """Refuse calls whose tokens do not begin where they stand: they were counted in others.

    Args:
        offsets: of the text's tokens as they are now; see `Window.offsets`.
        of: what the text is called.

    Raises:
        ToolformerError: names these calls.
    """
    others = [
        call
        for call in calls
        if not 0 <= call.position < len(offsets) or offsets[call.position] != call.character_offset
    ]
    if others:
        raise _misplaced(others, of)


def _misplaced(calls: Sequence[KeptCall], of: str) -> ToolformerError:
    return ToolformerError(
        f"The calls {[call.call_id for call in calls]} do not belong to {of}: their places do not "
        "fit its tokens. The stored calls come from another model or window size; rebuild the "
        "shard."
    )
