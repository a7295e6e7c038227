"""Annotates texts with tool calls, finetunes models on them, and decodes with live calls.

`complete`, `Home` and `Tool` are imported on first use, so `import toolformer` is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolformer.home.reading import Home
    from toolformer.inference import complete
    from tools.base import Tool

__all__ = ["Home", "Tool", "complete"]
_MODULES = {
    "Home": "toolformer.home.reading",
    "Tool": "tools.base",
    "complete": "toolformer.inference",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
