"""Tools from outside: modules and installed packages that a test makes in a folder of its own."""

import textwrap
from collections.abc import Mapping
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
    """A folder on the path, with modules and packages."""

    def __init__(self, folder: Path):
        self.folder = folder

    def module(self, name: str, source: str = ECHO) -> None:
        (self.folder / f"{name}.py").write_text(textwrap.dedent(source))

    def package(self, name: str, entry_points: Mapping[str, str], version: str = "1.0") -> None:
        """What pip leaves behind of a package with these tools."""
        information = self.folder / f"{name}-{version}.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        lines = [f"{tool} = {target}" for tool, target in entry_points.items()]
        text = "\n".join(["[toolformer.tools]", *lines, ""])
        (information / "entry_points.txt").write_text(text)
