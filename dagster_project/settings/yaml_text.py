"""The text of `toolformer.yaml`: read, with mistakes explained; sources added and removed in place.

Only the lines of a source are touched, since a parser that writes the file anew moves or loses the
comments. Does not know what the settings mean.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, SequenceNode
from ruamel.yaml.reader import ReaderError

from dagster_project.settings.errors import SettingsError

YAML_ERRORS = (YAMLError, RecursionError, ValueError, TypeError)
_MOST_BRACKETS = 100
_SECTION, _LIST = "corpus", "sources"


def read_text(file: Path) -> str:
    """The text of a settings file, with its line ends.

    Raises:
        SettingsError: it is no UTF-8.
    """
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{file} is not valid YAML: byte {error.start} is no UTF-8. Save it as UTF-8."
        ) from error


def loaded(text: str) -> Any:
    """What YAML says.

    Raises:
        YAML_ERRORS: it is not valid, or more than a person writes.
    """
    # The parser takes seconds to find out.
    steps = (1 if letter in "[{" else -1 for letter in text if letter in "[]{}")
    if max(accumulate(steps), default=0) > _MOST_BRACKETS:
        raise RecursionError
    if any(isinstance(event, AliasEvent) for event in YAML(typ="safe").parse(text)):
        # Some lines of them stand for more than memory holds.
        raise ValueError("it repeats a part by its name (`*name`). Write the part out")
    content = YAML(typ="safe").load(text)
    # Raises ValueError for a number of thousands of digits, which no message could show.
    repr(content)
    return content


def parsed(text: str, *, origin: str) -> dict[str, Any]:
    """What a settings file says; nothing for an empty one.

    Raises:
        SettingsError: it is not valid; with the line.
    """
    try:
        content = loaded(text)
    except YAML_ERRORS as error:
        raise SettingsError(
            f"{origin} is not valid YAML{_explained(text, error)} Correct it, or move it aside to "
            "get a new one."
        ) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{origin} holds no settings. Expected lines such as `preset: laptop`.")
    return content


def _explained(text: str, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return ": brackets are nested too deeply."
    if isinstance(error, ReaderError):
        line = text.count("\n", 0, int(error.position))
        return f" in line {line + 1}: it has a character that no text has."
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return f": {error}."
    line = error.problem_mark.line
    lines = text.splitlines()
    written = lines[line].rstrip() if line < len(lines) else ""
    if isinstance(error, DuplicateKeyError):
        problem = "the name stands there for a second time. Put what belongs together under one."
    elif written[: len(written) - len(written.lstrip())].count("\t"):
        problem = "a tab stands in front. Expected spaces."
    elif not written:
        problem = "the file ends where more is expected, such as a closing bracket or quote."
    else:
        problem = (
            f"expected `name: value`, with spaces in front as in its section ({error.problem})."
        )
    return f" in line {line + 1}, {written[:80]!r}: {problem}"


def with_sources(text: str, entries: Sequence[Mapping[str, Any]], *, origin: str) -> str:
    """The text with entries at the end of `corpus.sources`.

    Raises:
        SettingsError: it is not valid, or in a form that cannot be changed in place.
    """
    given = _listed(parsed(text, origin=origin))
    return _edited(text, origin, [*given, *entries], lambda plain: _added(plain, entries))


def without_source(text: str, path: str, *, origin: str) -> str:
    """The text without the entries of `corpus.sources` that have this path; raises as above."""
    given = _listed(parsed(text, origin=origin))
    wanted = [entry for entry in given if _path_of(entry) != path]
    places = [place for place, entry in enumerate(given) if _path_of(entry) == path]

    def edit(plain: str) -> str:
        for place in reversed(places):
            plain = _removed(plain, place)
        return plain

    return _edited(text, origin, wanted, edit)


def _listed(content: Mapping[str, Any]) -> list[Any]:
    section = content.get(_SECTION) or {}
    listed = section.get(_LIST) if isinstance(section, Mapping) else None
    return list(listed) if isinstance(listed, list) else []


def _path_of(entry: object) -> object:
    return entry.get("path") if isinstance(entry, Mapping) else None


def _edited(text: str, origin: str, wanted: list[Any], edit: Any) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    before = parsed(text, origin=origin)
    after = ""
    try:
        after = edit(text.replace("\r\n", "\n"))
        content = parsed(after, origin=origin)
    except (SettingsError, IndexError):
        content = {}
    # Whatever form the file has: what is written says what was meant, and nothing else changed.
    section = {**(before.get(_SECTION) or {}), _LIST: wanted}
    if content != {**before, _SECTION: section}:
        lines = "\n".join(f"    - {json.dumps(dict(entry))}" for entry in wanted)
        raise SettingsError(
            f"{origin} has a form in which the sources cannot be changed from here. Write there "
            f"yourself:\n{_SECTION}:\n  {_LIST}:\n{lines}"
        )
    return after.replace("\n", newline)


def _added(text: str, entries: Sequence[Mapping[str, Any]]) -> str:
    flow = ", ".join(_in_json(entry) for entry in entries)
    root = YAML().compose(text)
    if not isinstance(root, MappingNode):
        return _with_section(text, entries)
    key, section = _pair(root, _SECTION)
    if key is None and root.flow_style:
        return _into_flow(text, root, f'"{_SECTION}": {{"{_LIST}": [{flow}]}}')
    if key is None or section is None:
        return _with_section(text, entries)
    if not isinstance(section, MappingNode):  # nothing, or null
        lines = [f"  {_LIST}:", *_items(entries, 2)]
        return _insert_lines(_after_colon(text, key, section, ""), key.end_mark.line + 1, lines)
    key, listed = _pair(section, _LIST)
    if isinstance(listed, SequenceNode) and listed.flow_style:
        return _into_flow(text, listed, flow)
    if isinstance(listed, SequenceNode):
        lines = _items(entries, listed.start_mark.column)
        return _insert_lines(text, _last_line(listed) + 1, lines)
    if key is not None and listed is not None:
        return _after_colon(text, key, listed, f" [{flow}]")
    if section.flow_style:
        return _into_flow(text, section, f'"{_LIST}": [{flow}]')
    first = section.value[0][0].start_mark
    lines = [" " * first.column + f"{_LIST}:", *_items(entries, first.column)]
    return _insert_lines(text, first.line, lines)


def _with_section(text: str, entries: Sequence[Mapping[str, Any]]) -> str:
    """The text with a section where there is none: where its commented lines are, or at the end."""
    lines = text.rstrip("\n").split("\n") if text.strip() else []
    # The lines of a file that was written at first use; uncommented later, a section added
    # elsewhere would be the second of its name.
    places = [place for place, line in enumerate(lines) if line.startswith(f"# {_SECTION}:")]
    place = places[-1] if places else len(lines)
    heading = lines[place].removeprefix("# ") if places else f"{_SECTION}:"
    rest = lines[place + 1 :]
    if rest and rest[0].startswith(f"#   {_LIST}:"):
        del rest[0]
    return "\n".join([*lines[:place], heading, f"  {_LIST}:", *_items(entries, 2), *rest, ""])


def _removed(text: str, place: int) -> str:
    _, section = _pair(YAML().compose(text), _SECTION)
    key, listed = _pair(section, _LIST)
    if key is None or not isinstance(listed, SequenceNode):
        return text
    items = listed.value
    if listed.flow_style:
        if len(items) == 1:
            start, end = items[0].start_mark.index, listed.end_mark.index - 1
        elif place + 1 < len(items):
            start, end = items[place].start_mark.index, items[place + 1].start_mark.index
        else:
            start, end = items[place - 1].end_mark.index, items[place].end_mark.index
        return text[:start] + text[end:]
    lines = text.split("\n")
    # A dash can stand on a line of its own, with what it is for below.
    first = items[place].start_mark.line
    while not lines[first].lstrip().startswith("-"):
        first -= 1
    del lines[first : _last_line(items[place]) + 1]
    if len(items) == 1:
        colon = lines[key.start_mark.line].index(":", key.end_mark.column) + 1
        line = lines[key.start_mark.line]
        lines[key.start_mark.line] = line[:colon] + " []" + line[colon:]
    return "\n".join(lines)


def _pair(node: Node | None, name: str) -> tuple[Node | None, Node | None]:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if key.value == name:
                return key, value
    return None, None


def _in_json(entry: Mapping[str, Any]) -> str:
    return json.dumps(dict(entry), ensure_ascii=False)


def _items(entries: Sequence[Mapping[str, Any]], column: int) -> list[str]:
    """Entries as the lines of a list whose dashes stand in a column."""
    lines = []
    for entry in entries:
        for number, (name, value) in enumerate(entry.items()):
            lead = " " * column + ("  " if number else "- ")
            lines.append(f"{lead}{name}: {json.dumps(value, ensure_ascii=False)}")
    return lines


def _last_line(node: Node) -> int:
    """The last line of what a node says: a block's end lies behind the comments that follow it."""
    if not isinstance(node, CollectionNode) or node.flow_style or not node.value:
        mark = node.end_mark
        return mark.line - 1 if mark.column == 0 and mark.line > node.start_mark.line else mark.line
    last = node.value[-1]
    return max(_last_line(each) for each in (last if isinstance(last, tuple) else (last,)))


def _insert_lines(text: str, line: int, new: list[str]) -> str:
    lines = text.split("\n")
    if line >= len(lines):
        lines.append("")
    return "\n".join([*lines[:line], *new, *lines[line:]])


def _into_flow(text: str, node: Node, content: str) -> str:
    """The text with more between the brackets of a node."""
    if not node.value:
        place = node.start_mark.index + 1
        return text[:place] + content + text[place:]
    last = node.value[-1]
    place = (last[1] if isinstance(last, tuple) else last).end_mark.index
    return f"{text[:place]}, {content}{text[place:]}"


def _after_colon(text: str, key: Node, null: Node, content: str) -> str:
    """The text with content in place of the null of a key, whose comment stays."""
    colon = text.index(":", key.end_mark.index) + 1
    end = null.end_mark.index if null.value else colon
    return text[:colon] + content + text[end:]
