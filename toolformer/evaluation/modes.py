"""How a model is used while it is measured (paper §4.2, §4.4, table 9)."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from toolformer.decoding.completions import BY_RANK_ALONE, MinCallProbability

# The paper's studies: of k of the trigger, of single tools, of the size of the model. Ours besides:
# of what calls would do where none opens, and of what a table says.
StudyName = Literal["k", "tools", "sizes", "openings", "tables"]
# What is done to the facts that questions ask for.
Edit = Literal["changed", "deleted"]


@dataclass(frozen=True, slots=True)
class Mode:
    """One way of using a model, by its name in results.

    Attributes:
        call_top_k: k of the trigger; 0 disables calls.
        without_tool: A tool that may not be called here, besides those that a benchmark blocks.
        is_forced: Whether the model's own call opens, whatever its probability, at the one place
            of its answer without calls where ` [` is likeliest.
        edit: What was done to the tables of its tools; None for nothing.
    """

    name: str
    call_top_k: int
    without_tool: str | None = None
    min_call_probability: MinCallProbability = BY_RANK_ALONE
    is_forced: bool = False
    edit: Edit | None = None

    @property
    def entries(self) -> dict[str, Any]:
        """It and what opens its calls, as columns of `evaluation_results`."""
        least = self.min_call_probability.entries
        by_tool = least.pop("min_call_probability_by_tool")
        return {
            "mode": self.name,
            "call_top_k": self.call_top_k,
            **least,
            "min_call_probability_by_tool": json.dumps(by_tool) if by_tool else None,
        }

    @property
    def is_disabled(self) -> bool:
        """Whether no tool may be called."""
        return not self.call_top_k


DISABLED = Mode("disabled", 0)
ENABLED = "enabled"


def enabled(call_top_k: int, min_call_probability: MinCallProbability = BY_RANK_ALONE) -> Mode:
    """Calls as the settings want them."""
    return Mode(ENABLED, call_top_k, min_call_probability=min_call_probability)


def forced(call_top_k: int) -> Mode:
    """Each answer with the model's own call, opened where ` [` is likeliest."""
    return Mode("forced", call_top_k, is_forced=True)


def modes_by_edit(*, with_calls: Mode) -> list[Mode]:
    """Calls as the settings want them, over tables that were edited; the modes are named so."""
    return [replace(with_calls, name=edit, edit=edit) for edit in get_args(Edit)]


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
