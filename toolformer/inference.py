"""Completes texts with live tool calls from Python (paper §2 "Inference", §4.2).

Needs a model's folder and tools, but no home, settings file or Dagster.
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
    """Continue a text greedily and run the calls that the model writes.

    The last two models stay loaded. Errors are subclasses of `ToolformerError` or of the tools'
    errors, or ValueError for arguments out of range.

    Args:
        model: Folder of the model, as `save_pretrained` writes it. Nothing is downloaded.
        tools: Tools that the model may call: names of built-in tools that need no data
            ("Calculator", "Calendar"), typed functions, or `Tool` objects.
        date: Today's date for the Calendar; by default the machine's date.
        max_new_tokens: Maximum number of tokens outside calls.
        stop_texts: Texts that end the completion: it is cut before the first one outside calls.
        min_call_probability: Minimum probability, from 0 to 1, of ` [` and a tool's name for a call
            to open; for all tools, or by tool. 0 leaves the decision to `call_top_k`, as in the
            paper. By default a tool has the value that `toolformer train` stored with the model.
            Without a stored value no call opens, and the log says so.
        call_top_k: k of §4.2: a call opens only if ` [` is among the k most likely tokens.
        max_calls: Maximum number of calls per text.
        max_result_tokens: Maximum length of a result in tokens; longer results are cut.
        deadline_seconds: Maximum time of a call. Calls without an answer by then are undone.
        device: "auto", "cpu" or a CUDA device.

    Example:
        With a model that `make demo` finetuned, and a function of your own::

            answer = toolformer.complete("36 boxes of 45 eggs are 36 * 45 =",
                                         "data/models/toolformer",
                                         tools=["Calculator", my_function])
            print(answer.text, answer.calls)
    """
    directory, tools_by_name = Path(model).expanduser(), _by_name(tools)
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
        known = ", ".join(get_args(Precision))
        raise ValueError(f"precision is {precision!r}. Expected one of {known}.")
    minimums = min_call_probability if isinstance(min_call_probability, Mapping) else {}
    if unknown := sorted(minimums.keys() - tools_by_name.keys()):
        raise ToolSettingsError(
            f"min_call_probability names {unknown[0]!r}, which is not in tools. Expected some of "
            f"{', '.join(tools_by_name) or 'no tools'}."
        )
    document = Document("prompt", text, published_on=date or datetime.date.today())
    limits = Limits(execution.deadline_seconds, attempts=execution.attempts)
    [completion] = decoder.complete(
        _loaded(directory, model_identity(directory), device, precision),
        [text],
        decoding=Decoding(
            settings,
            execution.max_result_tokens,
            tuple(tools_by_name),
            min_call_probability=calibrated_probability(directory, min_call_probability)
            if tools_by_name
            else CLOSED,
        ),
        run_calls=call_runner(tools_by_name, [document], limits=limits),
        parse_arguments=lambda name, arguments: parse_arguments(tools_by_name[name], arguments),
        stop_texts=tuple(stop_texts),
    )
    return completion


def _by_name(tools: Sequence[AnyTool]) -> dict[str, Tool]:
    by_name: dict[str, Tool] = {}
    for tool in map(_as_tool, tools):
        name = str(getattr(tool, "name", ""))
        if not is_tool_name(name) or name in by_name:
            problem = "occurs twice" if name in by_name else "cannot be written in a call"
            raise ToolSettingsError(
                f"tools has a tool named {name!r}, which {problem}. Expected distinct names of "
                "ASCII letters, digits and '_' that do not start with a digit."
            )
        check_usable(tool, name)
        by_name[name] = tool
    return by_name


def _as_tool(tool: AnyTool) -> Tool:
    if tool == "Calendar" or isinstance(tool, Calendar):
        # A prompt has a date but no URL to read a date from.
        return Calendar(date_source="published_on")
    if isinstance(tool, str):
        return create_tool(tool)
    if isinstance(tool, Tool):
        return tool
    if callable(tool) and not isinstance(tool, type):
        about = tool.__doc__ or "A function."
        # Results are not stored, so nothing ever compares versions.
        return FunctionTool.from_function(tool, description=about, version="given")
    raise ToolSettingsError(
        f"tools has {tool!r}, which is not a tool. Expected the name of a tool that needs no "
        "data, a typed function, or an instance of a subclass of toolformer.Tool."
    )


@functools.lru_cache(maxsize=2)
def _loaded(directory: Path, identity: str, device: str, precision: str) -> "LanguageModel":  # noqa: ARG001
    """Load a model; `identity` is a cache key, since the files of a folder can be replaced."""
    from toolformer.forward.devices import check_device, resolve_device
    from toolformer.forward.language_model import LanguageModel
    from toolformer.forward.precision import automatic_precisions

    device = resolve_device(device)
    check_device(device)
    *choices, last = automatic_precisions(device) if precision == "auto" else [precision]
    record = directory / RECORD_FILE
    # A finetuned model needs the start token that it was trained with.
    bos_token = json.loads(record.read_text()).get("bos_token") if record.is_file() else None
    for choice in choices:
        with suppress(OverflowingModelError):
            return LanguageModel.load(
                directory, precision=choice, device=device, bos_token=bos_token
            )
    return LanguageModel.load(directory, precision=last, device=device, bos_token=bos_token)
