"""How a model is used while it is measured (paper §4.2, §4.4, table 9).

Does not decode.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mode:
    """One way of using a model.

    Attributes:
        name: As it stands in results.
        call_top_k: k of the trigger; 0 disables calls.
        without_tool: A tool that may not be called here, besides those that a benchmark blocks.
    """

    name: str
    call_top_k: int
    without_tool: str | None = None

    @property
    def is_disabled(self) -> bool:
        """Whether no tool may be called."""
        return not self.call_top_k


DISABLED = Mode("disabled", 0)
ENABLED = "enabled"


def enabled(call_top_k: int) -> Mode:
    """Calls as the settings want them.

    Example:
        >>> enabled(10)
        Mode(name='enabled', call_top_k=10, without_tool=None)
    """
    return Mode(ENABLED, call_top_k)


def modes_by_k(values: Iterable[int], *, call_top_k: int) -> list[Mode]:
    """One mode for each k (table 9); those that others have by now keep their names.

    Args:
        values: of k.
        call_top_k: the k of `enabled`.

    Example:
        >>> [mode.name for mode in modes_by_k([0, 1, 10], call_top_k=10)]
        ['disabled', 'k-1', 'enabled']
    """
    known = {0: DISABLED, call_top_k: enabled(call_top_k)} if call_top_k else {0: DISABLED}
    return [known.get(k, Mode(f"k-{k}", k)) for k in sorted(set(values))]


def modes_without_each(tools: Iterable[str], *, call_top_k: int) -> list[Mode]:
    """Calls disabled, all tools, and all but one, for each.

    Example:
        >>> [mode.name for mode in modes_without_each(["QA", "MT"], call_top_k=10)]
        ['disabled', 'enabled', 'without-QA', 'without-MT']
    """
    without = [Mode(f"without-{name}", call_top_k, name) for name in tools]
    return [DISABLED, enabled(call_top_k), *without]
