"""Decoding with the tools of a home: for the command line, the server and the benchmarks."""

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolformer.decoding.calibration import min_call_probability
from toolformer.decoding.completions import BY_RANK_ALONE, DecodingParameters, MinCallProbability
from toolformer.decoding.decoder import RunCalls
from toolformer.evaluation.modes import Mode, enabled
from toolformer.home.wiring.toolbox import Toolbox, execution_limits
from toolformer.settings.sections import Settings
from tools.plugins.plugins import parse_arguments
from tools.protocol import Document
from tools.running.execution import call_runner


def with_calls(directory: Path, settings: Settings) -> Mode:
    """The mode `enabled` of the model of a directory, as the settings want it."""
    decoding = settings.decoding
    least = min_call_probability(directory, decoding.min_call_probability)
    return enabled(decoding.call_top_k, least)


def decoding_parameters(
    settings: Settings,
    tools: Sequence[str],
    *,
    max_new_tokens: int | None = None,
    call_top_k: int | None = None,
    min_call_probability: MinCallProbability = BY_RANK_ALONE,
    blocked_tools: Sequence[str] = (),
) -> DecodingParameters:
    """What the decoder is told; no tools means that calls are disabled.

    The minimum probabilities may be the model's own, which the settings do not know.
    """
    decoding = settings.decoding
    return DecodingParameters(
        max_new_tokens=max_new_tokens or decoding.max_new_tokens,
        call_top_k=decoding.call_top_k if call_top_k is None else call_top_k,
        max_calls=decoding.max_calls,
        max_call_tokens=decoding.max_call_tokens,
        call_attempts=decoding.call_attempts,
        max_result_tokens=settings.execution.max_result_tokens,
        tools=tuple(tools),
        blocked_tools=tuple(blocked_tools),
        min_call_probability=min_call_probability,
    )


@dataclass(frozen=True, slots=True)
class LiveTools:
    """The tools of a run as `toolformer.decoding.decoder.complete` takes them."""

    run_calls: RunCalls
    parse_arguments: Callable[[str, str], str]


def live_tools(
    toolbox: Toolbox,
    settings: Settings,
    prompts: Sequence[str],
    dates: Sequence[datetime.date],
    *,
    on_outcome: Callable[[int, str, str | None], None] | None = None,
) -> LiveTools:
    """The tools for some prompts that are continued together.

    Args:
        prompts, dates: texts, and for each the date that the Calendar takes for today.
        on_outcome: see `tools.running.execution.call_runner`; told places in `prompts`.
    """
    askers = [
        Document(document_id=f"prompt-{number}", text=prompt, published_on=date)
        for number, (prompt, date) in enumerate(zip(prompts, dates, strict=True))
    ]
    return LiveTools(
        call_runner(
            toolbox.tools,
            askers,
            limits=execution_limits(settings),
            on_outcome=on_outcome,
            failures=toolbox.failures,
        ),
        lambda name, text: parse_arguments(toolbox.tools[name], text),
    )
