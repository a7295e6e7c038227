"""A call that is to be scored: where it stands, and what it says."""

from dataclasses import dataclass

from toolformer.forward.windows import WindowKey
from tools.protocol import ToolCall


@dataclass(frozen=True, slots=True)
class ScoredCall:
    """A call to score.

    Attributes:
        window: document and number of its window.
        position: 0-based, in the window.
        result: one line without markers.
    """

    call_id: str
    window: WindowKey
    position: int
    call: ToolCall
    result: str
