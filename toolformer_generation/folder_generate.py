"""What stands in the directory of a finetuned model as `custom_generate/generate.py`.

Transformers runs it for `model.generate(…, custom_generate=DIRECTORY, trust_remote_code=True)`,
without this project. The files beside it are the project's own modules; see `model_folder`.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from toolformer.errors import UnservedGenerationError
from toolformer_generation.generate import toolformer_generate
from tools.base import Tool
from tools.calculator import Calculator
from tools.calendar import Calendar
from tools.plugins.function_tool import FunctionTool

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# These need no data of their own.
_COMING_WITH_IT: dict[str, Callable[[], Tool]] = {"Calculator": Calculator, "Calendar": Calendar}


def generate(
    model: "PreTrainedModel",
    tools: "Sequence[str | Callable[..., object]] | None" = None,
    **options: Any,
) -> Any:
    """Decode greedily with live calls.

    Args:
        tools: `"Calculator"` and `"Calendar"`, which come with it, and typed functions of your own,
            which are called by their names. An empty sequence opens no call.
        options: of `generate`, and those of `toolformer_generate`, which says what is returned.

    Raises:
        UnservedGenerationError: no tools are given, or something that is none; see
            `toolformer_generate` for the others.
        ToolSettingsError: a function cannot be called.
    """
    ready = [_tool(tool) for tool in ([None] if tools is None else tools)]
    return model.generate(custom_generate=toolformer_generate, tools=ready, **options)


def _tool(given: object) -> Tool:
    if isinstance(given, str) and given in _COMING_WITH_IT:
        return _COMING_WITH_IT[given]()
    if not callable(given):
        raise UnservedGenerationError(
            f"generate got {given!r} for a tool. Expected tools=[…] with 'Calculator', 'Calendar' "
            "or typed functions, or tools=[] for no calls."
        )
    name = getattr(given, "__name__", repr(given))
    return FunctionTool.from_function(given, description=given.__doc__ or name, version="given")
