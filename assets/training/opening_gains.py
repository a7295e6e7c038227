"""Measures how much a model's calls would gain at positions where a call could open.

At each measured position the model writes its own call as in decoding, and the tools answer it as
in annotation. The gain is the difference of the loss of the following text without and with it.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from assets.training.development_texts import DevelopmentText
from toolformer.decoding.call_gains import AnsweredCall, call_chances, call_gains, written_calls
from toolformer.decoding.completions import Decoding
from toolformer.decoding.opening_thresholds import Opening, sampled
from toolformer.decoding.triggers import CallChance
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.model import TextPosition
from toolformer.forward.tokenization import Tokenizer
from toolformer.home.progress import ProgressCallback
from toolformer.home.wiring.execution import answered_calls
from toolformer.home.wiring.workspace import Workspace
from tools.base import Tool
from tools.plugins.plugins import parse_arguments
from tools.protocol import ToolCall
from tools.running.deadlines import GIVEN_UP

if TYPE_CHECKING:
    from toolformer.forward.language_model import LanguageModel

# Openings measured per text besides those at kept positions. Each costs a written call, its result
# and two losses.
_OTHERS_PER_TEXT = 2


def measure_openings(
    texts: Sequence[DevelopmentText],
    tools: Mapping[str, Tool],
    load_model: Callable[[], "LanguageModel"],
    work: Workspace,
    *,
    progress_of: Callable[[str], ProgressCallback],
) -> tuple[list[Opening], int]:
    """Return openings at all kept positions and some others, and the number of calls given up.

    The gain is 0 if a call has no result, for example because it is too long; what decoding would
    write instead is not measured. A position where the model names no tool has no opening.

    Each text is read at most four times, and up to `decoding.max_call_tokens` are written per
    opening: in total about 200,000 tokens for 200 texts of 256 tokens, half of them with a call.
    `load_model` is called again after the tools, because a tool may have replaced the model.
    """
    settings, model = work.settings, load_model()
    windows = [text.window for text in texts]
    # Fits the longest text, whose keys all its calls share when they are scored.
    token_budget = settings.scoring.token_budget or model.batch_tokens(
        window_tokens=max(len(window.ids) for window in windows)
    )
    call_top_k = settings.decoding.call_top_k
    chances = call_chances(
        model, windows, token_budget=token_budget, progress=progress_of("reading")
    )
    measured = _to_measure(texts, chances, call_top_k)
    calls = written_calls(
        model,
        windows,
        list(measured),
        decoding=Decoding(settings.decoding, settings.execution.max_result_tokens, tuple(tools)),
        parse_arguments=lambda name, arguments: parse_arguments(tools[name], arguments),
        progress=progress_of("writing calls"),
    )
    tokenizer = model.tokenizer
    del model
    made = {place: each.call for place, each in calls.items() if each.call is not None}
    answered, given_up = _answered(made, texts, tools, tokenizer, work, progress_of=progress_of)
    with tempfile.TemporaryDirectory() as scratch:
        gains = call_gains(
            load_model(),
            windows,
            answered,
            scoring=settings.scoring,
            token_budget=token_budget,
            checkpoint=Checkpoint(Path(scratch), fingerprint=""),
            progress=progress_of("scoring"),
        )
    return [
        Opening(
            each.probability,
            gains.get(place, 0.0),
            place.position in texts[place.row].call_positions,
            measured[place],
            each.tool,
        )
        for place, each in calls.items()
    ], given_up


def _to_measure(
    texts: Sequence[DevelopmentText], chances: Sequence[Sequence[CallChance]], call_top_k: int
) -> dict[TextPosition, int]:
    """Return positions where a call can open, each with the number of positions it represents."""
    openings = {
        TextPosition(number, at): probability
        for number, text_chances in enumerate(chances)
        for at, (rank, probability) in enumerate(text_chances)
        if rank is not None and probability is not None and rank <= call_top_k
    }
    kept = {
        TextPosition(number, at) for number, text in enumerate(texts) for at in text.call_positions
    }
    others = sorted(openings.keys() - kept, key=lambda place: (-openings[place], place))
    return {
        **dict.fromkeys(sorted(openings.keys() & kept), 1),
        **dict(sampled(others, count=_OTHERS_PER_TEXT * len(texts))),
    }


def _answered(
    calls: Mapping[TextPosition, ToolCall],
    texts: Sequence[DevelopmentText],
    tools: Mapping[str, Tool],
    tokenizer: Tokenizer,
    work: Workspace,
    *,
    progress_of: Callable[[str], ProgressCallback],
) -> tuple[dict[TextPosition, AnsweredCall], int]:
    """Return the calls with a result, and the number of calls given up."""
    answered: dict[TextPosition, AnsweredCall] = {}
    given_up = 0
    for name in sorted({call.tool_name for call in calls.values()}):
        tool_calls = {place: call for place, call in calls.items() if call.tool_name == name}
        requests = []
        for place, call in tool_calls.items():
            text = texts[place.row]
            offset = text.window.start + (text.window.offsets[place.position] or 0)
            requests.append((call.arguments, text.document, offset))
        answers = answered_calls(
            tools[name], requests, tokenizer, work, progress=progress_of(f"calling {name}")
        )
        for (place, call), answer in zip(tool_calls.items(), answers, strict=True):
            given_up += answer["reason"] == GIVEN_UP
            # A result may be empty after truncation; decoding then removes the call.
            if answer["result"]:
                answered[place] = AnsweredCall(call, answer["result"])
    return answered, given_up
