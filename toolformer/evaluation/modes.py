"""Defines the modes in which a model is evaluated (paper §4.2, §4.4, table 9)."""

import json
from dataclasses import dataclass
from typing import Any

from toolformer.decoding.completions import BY_RANK_ONLY, MinCallProbability


@dataclass(frozen=True, slots=True)
class Mode:
    """Way of using a model during evaluation.

    A `call_top_k` of 0 disables calls. If `is_forced`, one call opens, whatever its probability: at
    the position where ` [` is most likely in the answer without calls.
    """

    name: str
    call_top_k: int
    without_tool: str | None = None
    min_call_probability: MinCallProbability = BY_RANK_ONLY
    is_forced: bool = False

    @property
    def entries(self) -> dict[str, Any]:
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
        return not self.call_top_k


DISABLED = Mode("disabled", 0)
ENABLED = "enabled"


def enabled(call_top_k: int, min_call_probability: MinCallProbability = BY_RANK_ONLY) -> Mode:
    return Mode(ENABLED, call_top_k, min_call_probability=min_call_probability)
