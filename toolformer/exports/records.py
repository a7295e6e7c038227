"""The records of an export, one per line: in line, as a chat, as a pair of which one is preferred.

Every field is filled in every record, so that whoever guesses types from the first lines guesses
right. Chats have the form that TRL and chat templates take:

    Out of 1400, 400 (or [Calculator(400 / 1400) -> 0.29] 29%) passed.

becomes

    user       what stands in front of the text, or an instruction
    assistant  Out of 1400, 400 (or        and the call of Calculator
    tool       0.29
    assistant   29%) passed.

So the model writes the text and decides itself when it calls, as in the paper. What the assistant
says is the text without its calls, character for character.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from toolformer.augmentation import KeptCall, augmented_text
from toolformer.training.contexts import text_in_context

# What the user says where a text has no context.
INSTRUCTION = "Write a text. Call a tool where its result helps."
# Name of a tool's one parameter: what stands between the brackets of a call.
INPUT = "input"

Record = dict[str, Any]
Row = Mapping[str, Any]

_IDS = ("document_id", "window_index", "shard", "round", "split")


def text_record(row: Row) -> Record:
    """A row of `exported_texts` in the paper's form, with its context in front as in training."""
    return {
        **_ids(row),
        "text": text_in_context(row["context"], augmented_text(row["text"], _calls(row))),
    }


def chat_record(row: Row, tools: Sequence[Mapping[str, Any]]) -> Record:
    """A row of `exported_texts` as a conversation (TRL: language modelling, conversational).

    Args:
        row: a window of C* with its calls.
        tools: schemas of all tools that can be called.
    """
    return {
        **_ids(row),
        "messages": chat_messages(row["text"], _calls(row), row["context"]),
        "tools": list(tools),
    }


def pair_record(row: Row, tools: Sequence[Mapping[str, Any]]) -> Record:
    """A row of `exported_pairs`: a kept and a dropped call at one position (TRL: preference).

    Both answers write the text up to the position, without other calls, as when the calls were
    scored. They end with the call: its result is not the model's to write.
    """
    text_before = row["text"][: row["character_offset"]]
    about = {
        f"{side}_{fact}": row[f"{side}_{fact}"]
        for side in ("chosen", "rejected")
        for fact in ("call_id", "result", "loss_reduction")
    }
    return {
        **_ids(row),
        "tool": row["tool"],
        "prompt": [_user_message(row["context"])],
        "chosen": [_calling_message(text_before, row["tool"], row["chosen_arguments"])],
        "rejected": [_calling_message(text_before, row["tool"], row["rejected_arguments"])],
        "tools": list(tools),
        **about,
    }


def tool_schema(
    name: str, description: str, *, has_input: bool, needs_input: bool
) -> dict[str, Any]:
    """A tool as a JSON schema, as `get_json_schema` of transformers writes one.

    Args:
        name: name of the tool, as written in calls.
        description: one sentence.
        has_input: whether anything can stand between the brackets of its calls.
        needs_input: whether something always does.
    """
    parameter = {"type": "string", "description": f"What {name} is asked."}
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": {INPUT: parameter} if has_input else {},
                "required": [INPUT] if needs_input else [],
            },
        },
    }


def chat_messages(text: str, calls: Sequence[KeptCall], context: str | None) -> list[Record]:
    """A text of C* without calls, and its calls from left to right, as a conversation."""
    messages = [_user_message(context)]
    end_of_last = 0
    for call in calls:
        text_before = text[end_of_last : call.character_offset]
        messages.append(_calling_message(text_before, call.tool, call.arguments))
        messages.append({"role": "tool", "name": call.tool, "content": call.result})
        end_of_last = call.character_offset
    messages.append({"role": "assistant", "content": text[end_of_last:]})
    return messages


def _user_message(context: str | None) -> Record:
    return {"role": "user", "content": INSTRUCTION if context is None else context}


def _calling_message(text_before: str, tool: str, arguments: str) -> Record:
    given = {INPUT: arguments} if arguments else {}
    call = {"type": "function", "function": {"name": tool, "arguments": given}}
    return {"role": "assistant", "content": text_before, "tool_calls": [call]}


def _ids(row: Row) -> Record:
    return {name: row[name] for name in _IDS}


def _calls(row: Row) -> list[KeptCall]:
    return [KeptCall(**call) for call in row["calls"]]
