"""How a model is used while it is measured (paper §4.2, §4.4, table 9)."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from toolformer.decoding.completions import BY_RANK_ALONE, MinCallProbability

# The paper's studies: of k of the trigger, of single tools, of the size of the model.
StudyName = Literal["k", "tools", "sizes"]


@dataclass(frozen=True, slots=True)
class Mode:
    """One way of using a model, by its name in results.

    Attributes:
        call_top_k: k of the trigger; 0 disables calls.
        without_tool: A tool that may not be called here, besides those that a benchmark blocks.
        min_call_probability: That the opening token must have besides.
    """

    name: str
    call_top_k: int
    without_tool: str | None = None
    min_call_probability: MinCallProbability = BY_RANK_ALONE

    @property
    def is_disabled(self) -> bool:
        """Whether no tool may be called."""
        return not self.call_top_k


DISABLED = Mode("disabled", 0)
ENABLED = "enabled"


def enabled(call_top_k: int, min_call_probability: MinCallProbability = BY_RANK_ALONE) -> Mode:
    """Calls as the settings want them."""
    return Mode(ENABLED, call_top_k, min_call_probability=min_call_probability)


def modes_by_k(values: Iterable[int], *, with_calls: Mode) -> list[Mode]:
    """One mode for each k (table 9); those that others have by now keep their names.

    They are about rank alone: none asks for a probability.

    Example:
        >>> [mode.name for mode in modes_by_k([0, 1, 10], with_calls=enabled(10))]
        ['disabled', 'k-1', 'enabled']
        >>> least = MinCallProbability.everywhere(0.2)
        >>> [mode.name for mode in modes_by_k([0, 1, 10], with_calls=enabled(10, least))]
        ['disabled', 'k-1', 'k-10']
    """
    known = {0: DISABLED}
    if with_calls.call_top_k and with_calls.min_call_probability == BY_RANK_ALONE:
        known[with_calls.call_top_k] = with_calls
    return [known.get(k, Mode(f"k-{k}", k)) for k in sorted(set(values))]


def modes_without_each(tools: Iterable[str], *, with_calls: Mode) -> list[Mode]:
    """Calls disabled, all tools, and all but one, for each; otherwise as with all."""
    without = [replace(with_calls, name=f"without-{name}", without_tool=name) for name in tools]
    return [DISABLED, with_calls, *without]
