"""A table of facts, and what a tool answers."""

from pathlib import Path

from tools.errors import CallSyntaxError, ToolCallError
from tools.protocol import Document

NO_TEXT = Document("d", "")
FACTS = """subject,relation,object
Barack Obama,place of birth,Honolulu
Barack Obama,year of birth,1961
Peter F. Martin,year of birth,1941
"Müller, Sohn & Co",founded in,Köln
Ada Lovelace,occupation,writer
Ada Lovelace,occupation,mathematician
Albert Einstein,place of birth,Ulm
#5,place of birth,Nowhere
IT,field,computing
It,field,horror
"""


def answer(tool, arguments):
    try:
        return tool.call(tool.parse_arguments(arguments), NO_TEXT)
    except (CallSyntaxError, ToolCallError) as error:
        return error.reason


def indexes(folder: Path):
    assert {path.suffix for path in folder.iterdir()} == {".sqlite"}
    return sorted(folder.iterdir())
