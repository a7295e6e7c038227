"""Decoding with the tools of a home: for the command line, the server and the benchmarks."""

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from toolformer.decoding.decoder import RunCalls
from toolformer.home.wiring.toolbox import Toolbox, execution_limits
from toolformer.settings.sections import Settings
from tools.plugins.plugins import parse_arguments
from tools.protocol import Document
from tools.running.execution import call_runner


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
