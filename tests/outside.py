"""Tools from outside: modules that a test makes in a folder of its own."""

import textwrap
from pathlib import Path

ECHO = '''
from tools.base import Tool


class Echo(Tool):
    """Repeats its arguments."""

    name = "Echo"
    version = "1"
    description = "Repeats a word."
    prompt = """Repeat.

Input: A word, a word.
Output: A word, [Echo(word)] a word.

Input: {text}
Output:"""

    def __init__(self, times: int = 1) -> None:
        self.times = times
        self.version = f"1 times={times}"

    def call(self, arguments, document):
        return " ".join([arguments] * self.times)
'''


class Outside:
    """A folder on the path, with modules."""

    def __init__(self, folder: Path):
        self.folder = folder

    def module(self, name: str, source: str = ECHO) -> None:
        (self.folder / f"{name}.py").write_text(textwrap.dedent(source))
