"""What the chat template of a model leaves of an exported conversation.

Each part becomes a word that stands nowhere else, and is looked for in what the template writes:
so a result of 12 is not found in a text about 12 sacks. Names of parameters stand there once more
as they are: some templates leave out those that JSON schema has words for, such as `type`.
"""

import json
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from toolformer.base.loading import loading, prepare_transformers
from toolformer.errors import ChatTemplateError, ModelNotFoundError
from toolformer.exports.records import Record, with_json_texts
from toolformer.forward.chat_template import FAILURES

_SAID = {"system": "the system message", "user": "the user's message", "tool": "a call's result"}
# Of a word that the check itself puts beside a part, of which it is no loss of its own.
_BESIDE = "beside "
_TYPE = re.compile(r'("type": \[?)"(string|integer|number|boolean)"')


class ChatTemplate:
    """The chat template of a tokenizer.

    Args:
        directory: holds a tokenizer at least.
        as_json: arguments are given to it as JSON texts.

    Raises:
        ModelNotFoundError: it holds none, or none with a template.
    """

    def __init__(self, directory: Path, *, as_json: bool = False):
        self._as_json = as_json
        prepare_transformers()
        from transformers import AutoTokenizer

        with loading(f"The chat template in '{directory}'", ModelNotFoundError):
            self._tokenizer: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
            self._tokenizer.get_chat_template()

    def write(self, record: Record, *, is_asked: bool = False) -> str:
        """The messages of a record of `chat_record` as one text, with its tools.

        Args:
            is_asked: whether the model is to answer.

        Raises:
            ChatTemplateError: the template refuses it; says why.
        """
        from jinja2 import TemplateError

        tools = record["tools"]
        chat = (with_json_texts(record) if self._as_json else record)["messages"]
        try:
            return self._tokenizer.apply_chat_template(
                chat, tools=tools, tokenize=False, add_generation_prompt=is_asked
            )
        except (TemplateError, *FAILURES) as error:
            raise ChatTemplateError(" ".join(str(error).split()).rstrip(".")) from error

    def lost_parts(self, record: Record) -> dict[str, str]:
        """The parts of a record that the template does not write, each with what stands there.

        Where it refuses the record, that is all of it, with the reason.
        """
        marks: dict[str, tuple[str, str]] = {}
        names: dict[str, str] = {}

        def mark(part: str, value: Any, *, is_name: bool = False) -> Any:
            if not str(value).strip():
                return value
            # All of one length, so that none stands within another.
            marks[word := f"word{1_000_000 + len(marks)}"] = part, str(value)
            if is_name:
                names[word] = value
            return word

        marked = deepcopy(record)
        for message in marked["messages"]:
            said = "the text before a call" if "tool_calls" in message else "the text after a call"
            message["content"] = mark(_SAID.get(message["role"], said), message["content"])
            for call in message.get("tool_calls", ()):
                function = call["function"]
                function["name"] = mark("a call's name", function["name"])
                function["arguments"] = {
                    mark("a call's arguments", name, is_name=True): mark(
                        "a call's arguments", value
                    )
                    for name, value in function["arguments"].items()
                }
        for function in (tool["function"] for tool in marked["tools"]):
            for name in ("name", "description"):
                function[name] = mark(f"a tool's {name}", function[name])
            function["parameters"] = _marked_schema(function["parameters"], mark)
        tools = json.dumps(marked["tools"])
        found = _TYPE.search(tools)
        try:
            written = self.write(marked)
            # Templates know the types, and may write them in words of their own.
            retyped = self.write({**marked, "tools": json.loads(_TYPE.sub(_other_type, tools))})
            named = self.write(_with_names(marked, names))
        except ChatTemplateError as error:
            turns = ", ".join(message["role"] for message in record["messages"])
            return {"all of it": f"{error}; turns: {turns}"}
        lost = {
            part.removeprefix(_BESIDE): value
            for word, (part, value) in marks.items()
            if (word in written and word not in names and word not in named)
            or (word not in written and not part.startswith(_BESIDE))
        }
        return lost | ({"a parameter's type": found[2]} if found and retyped == written else {})


def _marked_schema(schema: Any, mark: Callable[..., Any]) -> Any:
    """A JSON schema with names, descriptions and choices of parameters marked, at any depth."""
    if isinstance(schema, list):
        return [_marked_schema(each, mark) for each in schema]
    if not isinstance(schema, dict):
        return schema
    of = "a parameter's name"
    names = {name: mark(of, name, is_name=True) for name in schema.get("properties", ())}
    marked = {}
    for key, value in schema.items():
        match key:
            case "properties":
                new = {names[name]: _marked_schema(each, mark) for name, each in value.items()}
                for name in (name for name, each in value.items() if isinstance(each, dict)):
                    parameter = new[names[name]]
                    said = f"{parameter.get('description', '')} {mark(_BESIDE + of, name)}"
                    parameter["description"] = said.strip()
            case "required":
                new = [names.get(name, name) for name in value]
            case "description":
                new = mark("a parameter's description", value)
            case "enum":
                new = [mark("a parameter's choices", choice) for choice in value]
            case _:
                new = _marked_schema(value, mark)
        marked[key] = new
    return marked


def _with_names(marked: Any, names: Mapping[str, str]) -> Any:
    """What is marked, with these names as they were."""
    if isinstance(marked, dict):
        return {names.get(key, key): _with_names(value, names) for key, value in marked.items()}
    if isinstance(marked, list):
        return [_with_names(each, names) for each in marked]
    return names.get(marked, marked) if isinstance(marked, str) else marked


def _other_type(match: re.Match[str]) -> str:
    return match[1] + ('"boolean"' if match[2] == "string" else '"string"')
