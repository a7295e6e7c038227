"""A window of C* as training sees it."""

from dataclasses import dataclass

from toolformer.augmentation import KeptCall
from toolformer.forward.windows import WindowKey


@dataclass(frozen=True, slots=True)
class AugmentedText:
    """One window of C, or of C* with its calls beside it.

    Attributes:
        window_index: number of the window within its text, from 0.
        text: the characters of the window, without calls.
        calls: its kept calls, at most one per position, from left to right; none in a plain window.
        context: what stands in front of the document in training; None where it has none, and for
            all but its first window.
    """

    document_id: str
    window_index: int
    shard: str
    text: str
    calls: tuple[KeptCall, ...]
    round: int
    context: str | None

    @property
    def key(self) -> WindowKey:
        """Which window it is, whatever the round."""
        return self.document_id, self.window_index

    @property
    def tools(self) -> frozenset[str]:
        """Names of the tools with a call in this text."""
        return frozenset(call.tool for call in self.calls)
