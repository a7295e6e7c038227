"""Calls that the filter dropped, as many of each tool as it kept.

A model trained on them shows what calls at random teach, beside the calls that the filter chose.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolformer.augmentation import KeptCall
from toolformer.forward.windows import WindowKey
from toolformer.training.augmented_text import AugmentedText
from toolformer.training.training_set import random_rank


@dataclass(frozen=True, slots=True)
class DroppedCalls:
    """The calls at random of a training set.

    Attributes:
        calls: calls of each text that has some, at most one per position, from left to right.
        wanted: of each tool the number of kept calls.
        counts: of each of these tools the number of dropped calls, at most as many.
    """

    calls: Mapping[WindowKey, tuple[KeptCall, ...]]
    wanted: Mapping[str, int]
    counts: Mapping[str, int]


def choose_dropped_calls(
    texts: Sequence[AugmentedText], dropped: Mapping[WindowKey, Sequence[KeptCall]], *, seed: int
) -> DroppedCalls:
    """Choose dropped calls at random, of each tool as many as the texts have kept calls.

    A text gets as many of a tool as it has kept ones; what is missing in one, others get. Tools
    with the fewest dropped calls for each that is wanted choose first, so that none loses its few
    places to a tool with many.

    Args:
        dropped: calls of these texts that the filter dropped; several may stand at one position.
    """
    wanted = Counter(call.tool for text in texts for call in text.calls)
    available = Counter(call.tool for text in texts for call in dropped.get(text.key, ()))
    chosen: dict[WindowKey, dict[int, KeptCall]] = {}
    for tool in sorted(wanted, key=lambda tool: (available[tool] / wanted[tool], tool)):
        _choose(tool, texts, dropped, chosen, wanted[tool], seed)
    counts = Counter(call.tool for calls in chosen.values() for call in calls.values())
    return DroppedCalls(
        calls={
            key: tuple(calls[position] for position in sorted(calls))
            for key, calls in chosen.items()
        },
        wanted=dict(wanted),
        counts={tool: counts[tool] for tool in wanted},
    )


def _choose(
    tool: str,
    texts: Sequence[AugmentedText],
    dropped: Mapping[WindowKey, Sequence[KeptCall]],
    chosen: dict[WindowKey, dict[int, KeptCall]],
    wanted: int,
    seed: int,
) -> None:
    """Add the calls of one tool to those that were chosen, by text and position."""
    left: list[tuple[WindowKey, KeptCall]] = []
    for text in texts:
        in_text = sum(call.tool == tool for call in text.calls)
        calls = [call for call in dropped.get(text.key, ()) if call.tool == tool]
        for call in sorted(calls, key=lambda call: _rank(seed, call)):
            if in_text and _place(chosen, text.key, call):
                in_text -= 1
                wanted -= 1
            else:
                left.append((text.key, call))
    for key, call in sorted(left, key=lambda pair: _rank(seed, pair[1])):
        if not wanted:
            return
        wanted -= _place(chosen, key, call)


def _place(chosen: dict[WindowKey, dict[int, KeptCall]], key: WindowKey, call: KeptCall) -> bool:
    """Put a call where there is none yet; whether there was room."""
    return chosen.setdefault(key, {}).setdefault(call.position, call) is call


def _rank(seed: int, call: KeptCall) -> tuple[int, str]:
    return random_rank(seed, "dropped", call.call_id), call.call_id
