"""Lists every message that a person can read: `python -m tests.messages [PATH …]`.

It finds errors, log lines, printed lines and help texts in the syntax trees of the production code.
Expressions in f-strings appear in braces.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

_PACKAGES = ("assets", "dagster_project", "toolformer", "tools", "warehouse")
_LOGS = {"debug", "info", "warning", "error", "exception", "warn"}
_PRINTS = {"say", "heading", "note", "error", "table", "document", "show", "frame", "print"}
_HELP = {"Option", "Argument", "Typer", "command", "Field"}


def text_of(node: ast.expr) -> str | None:
    """Return the text of a string expression, or None for any other expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            f"{{{ast.unparse(part.value)}}}"
            if isinstance(part, ast.FormattedValue)
            else str(ast.literal_eval(part))
            for part in node.values
        )
    return None


def kind_of(call: ast.Call, raised: set[ast.expr]) -> str | None:
    """Return which kind of message the call makes, or None if it makes none."""
    if call in raised:
        return "error"
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name.endswith(("Error", "Exception")):
        return "error"
    if name in _LOGS and "log" in ast.unparse(call.func).lower():
        return "log"
    if name in _PRINTS:
        return "printed"
    return "help" if name in _HELP else None


def messages(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line, kind and text of the messages of a module."""
    tree = ast.parse(path.read_text("utf-8"))
    raised = {node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc}
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or (kind := kind_of(call, raised)) is None:
            continue
        for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
            text = text_of(argument)
            if text and " " in text.strip():
                yield argument.lineno, kind, " ".join(text.split())


def main(arguments: list[str]) -> None:
    """Print the messages of the given modules and folders, by default of all packages."""
    for root in map(Path, arguments or _PACKAGES):
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            for line, kind, text in sorted(messages(path)):
                sys.stdout.write(f"{path}:{line}: {kind}: {text}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
