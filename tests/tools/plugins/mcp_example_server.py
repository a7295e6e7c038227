"""An MCP server for the tests: run as a program, it serves a few tools over its streams."""

import os
import sys
import time
from pathlib import Path
from typing import Literal


def count_words(text: str, at_least: int = 0) -> str:
    """Counts the words of a text.

    Not part of the first paragraph.
    """
    words = len(text.split())
    if words < at_least:
        raise ValueError("too few words")
    return str(words)


def misbehave(how: Literal["die", "die_once", "hang"], mark: str = "") -> str:
    """Does what it should not."""
    if how == "die" or (how == "die_once" and not Path(mark).exists()):
        if mark:
            Path(mark).touch()
        os._exit(7)
    if how == "hang":
        time.sleep(30)
    return "survived"


def nothing() -> None:
    """Answers nothing."""


def environment(name: str) -> str:
    """Says what a variable of its environment is."""
    return os.environ.get(name, "not set")


def add_all(numbers: list[int]) -> int:
    """Adds numbers."""
    return sum(numbers)


def calculate(expression: str) -> str:
    """Works out an expression, however long it takes."""
    return str(eval(expression))


def main() -> None:
    # Here, because pytest imports this file also where the library is not installed.
    from mcp.server.mcpserver import MCPServer

    app = MCPServer("examples", version="1.2")
    for function in (count_words, misbehave, nothing, environment, add_all, calculate):
        app.tool()(function)
    sys.stderr.write("ready\n")
    app.run(transport="stdio")


if __name__ == "__main__":
    main()
