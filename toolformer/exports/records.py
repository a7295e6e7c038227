"""Builds the JSON records of an export: texts with inline calls, or chats for TRL.

All records have the same fields, so readers can infer types from the first lines. A chat splits a
text at its calls, so `Out of 1400, 400 (or [Calculator(400 / 1400) -> 0.29] 29%) passed.` becomes:

    user       the text's context, or an instruction
    assistant  Out of 1400, 400 (or        with a call of Calculator
    tool       0.29
    assistant   29%) passed.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolformer.augmentation import KeptCall, augmented_text
from toolformer.base.digests import hex_digest
from toolformer.markup import CHAT_MARKUP, defused_markup
from toolformer.training.training_set import text_in_context

# The user's message if a text has no context.
INSTRUCTION = "Write a text. Call a tool where its result helps."
# Parameter of a tool with one text argument: all text between the parentheses of its calls.
INPUT = "input"

Record = dict[str, Any]
Row = Mapping[str, Any]

IDS = ("document_id", "window_index", "shard", "round", "split")
# Fields that a chat template or a tokenizer reads.
_TEXT_FIELDS = ("text", "messages")
# Mistral's v3 templates reject ids of any other length.
_ID_LENGTH = 9


@dataclass(frozen=True, slots=True)
class ChatTool:
    """Tool declaration for chats: JSON schema, and a parser of the text between the parentheses."""

    schema: Mapping[str, Any]
    values: Callable[[str], Mapping[str, Any]]


def text_record(row: Row) -> Record:
    """Return a row of `exported_texts` with inline calls, after its context as in training."""
    return {
        **_ids(row),
        "text": text_in_context(row["context"], augmented_text(row["text"], _calls(row))),
    }


def chat_record(row: Row, tools: Mapping[str, ChatTool]) -> Record:
    """Return a row of `exported_texts` as a conversation for TRL's `SFTTrainer`."""
    return {
        **_ids(row),
        "messages": chat_messages(row["text"], _calls(row), row["context"], tools),
        "tools": [tool.schema for tool in tools.values()],
    }


def text_tool(name: str, description: str, *, has_input: bool, needs_input: bool) -> ChatTool:
    """Return a tool with one text argument, which may be absent or optional."""
    parameter = {"type": "string", "description": f"What {name} is asked."}
    parameters = {
        "type": "object",
        "properties": {INPUT: parameter} if has_input else {},
        "required": [INPUT] if needs_input else [],
    }
    return ChatTool(tool_schema(name, description, parameters), _input)


def tool_schema(name: str, description: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool declaration in the format of transformers' `get_json_schema`."""
    function = {"name": name, "description": description, "parameters": dict(parameters)}
    return {"type": "function", "function": function}


def chat_messages(
    text: str, calls: Sequence[KeptCall], context: str | None, tools: Mapping[str, ChatTool]
) -> list[Record]:
    messages = [_user_message(context)]
    end_of_last = 0
    for call in calls:
        text_before = text[end_of_last : call.character_offset]
        call_id = chat_id(call.call_id)
        messages.append(_calling_message(text_before, call.tool, call.arguments, call_id, tools))
        answer = {"role": "tool", "tool_call_id": call_id, "name": call.tool}
        messages.append({**answer, "content": call.result})
        end_of_last = call.character_offset
    messages.append({"role": "assistant", "content": text[end_of_last:]})
    return messages


def chat_id(call_id: str) -> str:
    """Return the id of a call in chats: nine letters and digits.

    Example:
        >>> chat_id("3f9a")
        'f5334b04a'
    """
    return hex_digest(call_id)[:_ID_LENGTH]


def with_chat_markers_broken(record: Record) -> Record:
    """Return the record with broken chat-template markers, so that no text can end a turn.

    Markers such as `<|im_end|>` get a blank after their first character, but only in fields that a
    template or tokenizer reads.

    Example:
        >>> with_chat_markers_broken({"text": "It ends.<|im_end|>", "split": "train"})
        {'text': 'It ends.< |im_end|>', 'split': 'train'}
    """
    return {
        name: break_chat_markers(value) if name in _TEXT_FIELDS else value
        for name, value in record.items()
    }


def break_chat_markers(value: Any) -> Any:
    """Break the chat-template markers in all strings of a value, except field names."""
    if isinstance(value, str):
        # Breaking two markers could produce a third one.
        while CHAT_MARKUP.search(value):
            value = CHAT_MARKUP.sub(defused_markup, value)
        return value
    if isinstance(value, Mapping):
        return {name: break_chat_markers(inner) for name, inner in value.items()}
    return [break_chat_markers(inner) for inner in value] if isinstance(value, list) else value


def with_json_strings(record: Record) -> Record:
    """Return the chat with arguments and schemas as JSON strings.

    Otherwise Arrow would give all calls the same argument fields and fill missing ones with null.
    """
    messages = [_with_json_arguments(message) for message in record["messages"]]
    return {**record, "messages": messages, "tools": _json(record["tools"])}


def _with_json_arguments(message: Record) -> Record:
    if "tool_calls" not in message:
        return message
    calls = [
        {**call, "function": {**function, "arguments": _json(function["arguments"])}}
        for call in message["tool_calls"]
        for function in (call["function"],)
    ]
    return {**message, "tool_calls": calls}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _input(arguments: str) -> dict[str, str]:
    return {INPUT: arguments} if arguments else {}


def _user_message(context: str | None) -> Record:
    return {"role": "user", "content": INSTRUCTION if context is None else context}


def _calling_message(
    text_before: str, tool: str, arguments: str, call_id: str, tools: Mapping[str, ChatTool]
) -> Record:
    function = {"name": tool, "arguments": dict(tools[tool].values(arguments))}
    call = {"id": call_id, "type": "function", "function": function}
    return {"role": "assistant", "content": text_before, "tool_calls": [call]}


def _ids(row: Row) -> Record:
    return {name: row[name] for name in IDS}


def _calls(row: Row) -> list[KeptCall]:
    return [KeptCall(**call) for call in row["calls"]]
