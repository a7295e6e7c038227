"""Completion of texts in Python, with live calls of tools (paper §2 "Inference", §4.2).

Needs the folder of a model and tools, but no home, settings file or Dagster.
"""

import datetime
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from toolformer.base.model_files import RECORD_FILE
from toolformer.decoding import decoder
from toolformer.decoding.calibration import min_call_probability as calibrated_probability
from toolformer.decoding.completions import CLOSED, Completion, Decoding
from toolformer.errors import OverflowingModelError
from toolformer.settings.sections import DecodingSettings, ExecutionSettings
from tools.base import Tool
from tools.calendar import Calendar
from tools.errors import ToolSettingsError
from tools.model_identity import model_identity
from tools.plugins.function_tool import FunctionTool
from tools.plugins.plugins import parse_arguments
from tools.protocol import Document
from tools.registry import check_usable, create_tool
from tools.running.deadlines import Limits
from tools.running.execution import call_runner
from tools.syntax import is_tool_name

if TYPE_CHECKING:
    from toolformer.forward.language_model import LanguageModel

Precision = Literal["auto", "float32", "bfloat16", "float16"]
AnyTool = str | Tool | Callable[..., object]
_DECODING, _EXECUTION = DecodingSettings(), ExecutionSettings()


def complete(
    text: str,
    model: str | Path,
    *,
    tools: Sequence[AnyTool] = (),
    date: datetime.date | None = None,
    max_new_tokens: int = _DECODING.max_new_tokens,
    stop_texts: Sequence[str] = (),
    min_call_probability: float | Mapping[str, float] | None = None,
    call_top_k: int = _DECODING.call_top_k,
    max_calls: int = _DECODING.max_calls,
    max_result_tokens: int = _EXECUTION.max_result_tokens,
    deadline_seconds: float = _EXECUTION.deadline_seconds,
    device: str = "auto",
    precision: Precision = "auto",
) -> Completion:
    """Continue a text greedily, and run the calls that the model writes.

    The two models used last stay loaded, so only the first completion of a model waits for it.

    Args:
        model: Folder of the model, as `save_pretrained` writes it. Nothing is downloaded.
        tools: Tools that the model may call: names of the project's tools that need no data
            ("Calculator", "Calendar"), typed functions, which are called by their names, and
            `Tool` objects. Without tools no call opens.
        date: The present day as the Calendar tells it; by default that of the machine.
        max_new_tokens: Maximum number of tokens outside calls.
        stop_texts: The completion ends before the first of these that appears outside calls.
        min_call_probability: Minimum probability, from 0 to 1, of ` [` and a tool's name for a call
            to open; one number for all tools, or numbers by tool. 0 leaves the decision to
            `call_top_k`, as in the paper. None, and a tool without a number, takes the value that
            `toolformer train` calibrated and stored beside the model; without such a value no call
            opens, and the log says so.
        call_top_k: k of §4.2: a call opens only if ` [` is among the k likeliest tokens.
        max_calls: Maximum number of calls per text.
        max_result_tokens: Maximum length of a call's result, in tokens; longer ones are cut.
        deadline_seconds: Maximum time of one call; a call without an answer by then is undone.
        device: "auto", "cpu" or a CUDA device.
        precision: "auto", "float32", "bfloat16" or "float16".

    Returns:
        The completion: `text` with the calls, `text_without_calls`, `calls` with their results,
        `undone_calls`, `stopped_by`, and the `trace` of all tokens.

    Raises:
        ModelNotFoundError: If the folder holds no model that can be used.
        SequenceTooLongError: If the text leaves no room for a continuation in the model's context.
        OutOfMemoryError: If the device does not hold the model.
        ToolformerError: If the calibration beside the model is damaged.
        UnknownToolError, ToolSettingsError: If one of `tools` is none, needs data, or has a name
            that cannot be called or is there twice.
        ToolUnavailableError: If a tool cannot run here.
        ValueError: If a number is out of its range, or the precision unknown.

    Example:
        A model that `make demo` finetuned, and a function of your own::

            from toolformer import complete

            answer = complete("36 boxes of 45 eggs are 36 * 45 =", "data/models/toolformer",
                              tools=["Calculator", my_function])
            print(answer.text, answer.calls)
    """
    directory, named = Path(model).expanduser(), _named(tools)
    settings = DecodingSettings(
        max_new_tokens=max_new_tokens,
        min_call_probability=min_call_probability,
        call_top_k=call_top_k,
        max_calls=max_calls,
    )
    execution = ExecutionSettings(
        max_result_tokens=max_result_tokens, deadline_seconds=deadline_seconds
    )
    if precision not in get_args(Precision):
        raise ValueError(f"precision is {precision!r}. Expected one of {get_args(Precision)}.")
    given = min_call_probability if isinstance(min_call_probability, Mapping) else {}
    if unknown := sorted(given.keys() - named.keys()):
        raise ToolSettingsError(
            f"min_call_probability names {unknown[0]!r}, which is not in tools. Expected some of "
            f"{', '.join(named) or 'no tools'}."
        )
    asker = Document("prompt", text, published_on=date or datetime.date.today())
    limits = Limits(execution.deadline_seconds, attempts=execution.attempts)
    [completion] = decoder.complete(
        _loaded(directory, model_identity(directory), device, precision),
        [text],
        decoding=Decoding(
            settings,
            execution.max_result_tokens,
            tuple(named),
            min_call_probability=calibrated_probability(directory, min_call_probability)
            if named
            else CLOSED,
        ),
        run_calls=call_runner(named, [asker], limits=limits),
        parse_arguments=lambda name, arguments: parse_arguments(named[name], arguments),
        stop_texts=tuple(stop_texts),
    )
    return completion


def _named(tools: Sequence[AnyTool]) -> dict[str, Tool]:
    """Return the tools by name, in their order."""
    by_name: dict[str, Tool] = {}
    for tool in map(_tool, tools):
        name = str(getattr(tool, "name", ""))
        if not is_tool_name(name) or name in by_name:
            problem = "is there twice" if name in by_name else "cannot be written in a call"
            raise ToolSettingsError(
                f"tools has a tool named {name!r}, a name that {problem}. Expected one tool per "
                "name, of ASCII letters, digits and '_', without a digit in front."
            )
        check_usable(tool, name)
        by_name[name] = tool
    return by_name


def _tool(given: AnyTool) -> Tool:
    if given == "Calendar" or isinstance(given, Calendar):
        # A prompt has a date, and no address to read one from.
        return Calendar(date_source="published_on")
    if isinstance(given, str):
        return create_tool(given)
    if isinstance(given, Tool):
        return given
    if callable(given) and not isinstance(given, type):
        about = given.__doc__ or "A function."
        # Answers are not stored, so nothing asks for their version.
        return FunctionTool.from_function(given, description=about, version="given")
    raise ToolSettingsError(
        f"tools has {given!r}, which is no tool. Expected the name of a tool that needs no data, a "
        "typed function, or an instance of a subclass of toolformer.Tool."
    )


@functools.lru_cache(maxsize=2)
def _loaded(directory: Path, identity: str, device: str, precision: str) -> "LanguageModel":  # noqa: ARG001
    """Load a model; `identity` is for the cache, since another can take its place."""
    from toolformer.forward.devices import check_device, resolve_device
    from toolformer.forward.language_model import LanguageModel
    from toolformer.forward.precision import automatic_precisions

    device = resolve_device(device)
    check_device(device)
    *choices, last = automatic_precisions(device) if precision == "auto" else [precision]
    record = directory / RECORD_FILE
    # The start token that a finetuned model was trained with.
    start = json.loads(record.read_text()).get("bos_token") if record.is_file() else None
    for choice in choices:
        with suppress(OverflowingModelError):
            return LanguageModel.load(directory, precision=choice, device=device, bos_token=start)
    return LanguageModel.load(directory, precision=last, device=device, bos_token=start)
