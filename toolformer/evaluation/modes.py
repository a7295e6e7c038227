"""How a model is used while it is measured (paper §4.2, §4.4, table 9)."""

import json
from dataclasses import dataclass
from typing import Any

from toolformer.decoding.completions import BY_RANK_ALONE, MinCallProbability


@dataclass(frozen=True, slots=True)
class Mode:
    """One way of using a model, by its name in results.

    Attributes:
        call_top_k: k of the trigger; 0 disables calls.
        without_tool: A tool that may not be called here, besides those that a benchmark blocks.
        is_forced: Whether the model's own call opens, whatever its probability, at the one place
            of its answer without calls where ` [` is likeliest.
    """

    name: str
    call_top_k: int
    without_tool: str | None = None
    min_call_probability: MinCallProbability = BY_RANK_ALONE
    is_forced: bool = False

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
