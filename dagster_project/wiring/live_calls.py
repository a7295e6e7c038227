"""Decoding with the tools of a home: for the command line and for the benchmarks.

Does not decode or run tools itself.
"""

import datetime
from collections.abc import Callable, Sequence

from dagster_project.settings.sections import Settings
from dagster_project.wiring.toolbox import Toolbox, execution_limits
from toolformer.decoding.completions import Completion, DecodingParameters
from toolformer.decoding.decoder import complete
from toolformer.forward.language_model import LanguageModel
from tools.protocol import Document
from tools.running.pending_calls import call_runner
from tools.yours.plugins import parse_arguments


def decoding_parameters(
    settings: Settings,
    tools: Sequence[str],
    *,
    max_new_tokens: int | None = None,
    call_top_k: int | None = None,
    least_call_probability: float = 0.0,
    blocked_tools: Sequence[str] = (),
) -> DecodingParameters:
    """What the decoder is told; no tools means that calls are disabled.

    The least probability may be one of the model's own, which the settings do not know.
    """
    decoding = settings.decoding
    return DecodingParameters(
        max_new_tokens=max_new_tokens or decoding.max_new_tokens,
        call_top_k=decoding.call_top_k if call_top_k is None else call_top_k,
        max_calls=decoding.max_calls,
        max_call_tokens=decoding.max_call_tokens,
        max_result_tokens=settings.execution.max_result_tokens,
        tools=tuple(tools),
        blocked_tools=tuple(blocked_tools),
        least_call_probability=least_call_probability,
    )


def complete_with_tools(
    model: LanguageModel,
    prompts: Sequence[str],
    toolbox: Toolbox,
    settings: Settings,
    *,
    dates: Sequence[datetime.date],
    with_calls: bool,
    least_call_probability: float,
    call_top_k: int | None = None,
    prompt_ids: Sequence[Sequence[int]] | None = None,
    blocked_tools: Sequence[str] = (),
    max_new_tokens: int | None = None,
    stop_texts: tuple[str, ...] = (),
    without_calls: Sequence[Completion] | None = None,
    rows_at_once: int | None = None,
    on_outcome: Callable[[int, str, str | None], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Completion]:
    """Continue prompts, with live calls or with calls disabled.

    Args:
        model: any.
        prompts: continued together, many at a time.
        toolbox: opened for decoding.
        settings: of the run.
        dates: for each prompt the date that the Calendar takes for today.
        with_calls: whether tools may be called.
        least_call_probability: for this model; see
            `dagster_project.wiring.call_threshold.least_call_probability`.
        blocked_tools: those that may not be called all the same.
        call_top_k, max_new_tokens: instead of the settings' own.
        stop_texts: the completion ends before these.
        prompt_ids, without_calls, rows_at_once, progress: see
            `toolformer.decoding.decoder.complete`.
        on_outcome: see `tools.running.pending_calls.call_runner`; told places in `prompts`.
    """
    askers = [
        Document(document_id=f"prompt-{number}", text=prompt, published_on=date)
        for number, (prompt, date) in enumerate(zip(prompts, dates, strict=True))
    ]
    names = tuple(toolbox.tools) if with_calls else ()
    return complete(
        model,
        prompts,
        prompt_ids=prompt_ids,
        parameters=decoding_parameters(
            settings,
            names,
            max_new_tokens=max_new_tokens,
            call_top_k=call_top_k,
            least_call_probability=least_call_probability,
            blocked_tools=blocked_tools,
        ),
        run_calls=call_runner(
            toolbox.tools,
            askers,
            limits=execution_limits(settings),
            on_outcome=on_outcome,
            failures=toolbox.failures,
        ),
        parse_arguments=lambda name, text: parse_arguments(toolbox.tools[name], text),
        stop_texts=stop_texts,
        without_calls=without_calls,
        rows_at_once=rows_at_once,
        progress=progress,
    )
