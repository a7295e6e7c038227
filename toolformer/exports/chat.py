"""Calls inside texts as tool calls of a chat, in the form that TRL and chat templates take.

    Out of 1400, 400 (or [Calculator(400 / 1400) -> 0.29] 29%) passed.

becomes

    user       what stands in front of the text, or an instruction
    assistant  Out of 1400, 400 (or        and the call of Calculator
    tool       0.29
    assistant   29%) passed.

So the model writes the text and decides itself when it calls, as in the paper. What the assistant
says is the text without its calls, character for character.
"""

from collections.abc import Sequence
from typing import Any

from toolformer.augmentation import KeptCall

INSTRUCTION = "Write a text. Call a tool where its result helps."
"""What the user says where a text has no context."""
INPUT = "input"
"""Name of a tool's one parameter: what stands between the brackets of a call."""

Message = dict[str, Any]


def tool_schema(
    name: str, description: str, *, has_input: bool, needs_input: bool
) -> dict[str, Any]:
    """A tool as a JSON schema, as `get_json_schema` of transformers writes one.

    Args:
        name: of the tool, as written in calls.
        description: one sentence.
        has_input: whether anything can stand between the brackets of its calls.
        needs_input: whether something always does.

    Example:
        >>> tool_schema("Calendar", "Today's date.", has_input=False, needs_input=False)["function"]
        {'name': 'Calendar', 'description': "Today's date.", 'parameters': {'type': 'object', \
'properties': {}, 'required': []}}
    """
    told = {"type": "string", "description": f"What {name} is asked."}
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": {INPUT: told} if has_input else {},
                "required": [INPUT] if needs_input else [],
            },
        },
    }


def asking_message(context: str | None) -> Message:
    """What the user says: the context of the text, such as a question, or `INSTRUCTION`."""
    return {"role": "user", "content": INSTRUCTION if context is None else context}


def calling_message(said: str, tool: str, arguments: str) -> Message:
    """The assistant writes on, and calls a tool.

    Args:
        said: the text since the last call; may be empty.
        tool: name of the tool.
        arguments: what stands between the brackets; empty for a tool that takes none.

    Example:
        >>> calling_message("It is", "Calendar", "")["tool_calls"]
        [{'type': 'function', 'function': {'name': 'Calendar', 'arguments': {}}}]
    """
    given = {INPUT: arguments} if arguments else {}
    call = {"type": "function", "function": {"name": tool, "arguments": given}}
    return {"role": "assistant", "content": said, "tool_calls": [call]}


def chat_messages(text: str, calls: Sequence[KeptCall], context: str | None) -> list[Message]:
    """A text with calls as a conversation.

    Args:
        text: a window of C*, without calls.
        calls: its calls, from left to right.
        context: what stands in front of the text in training; None where it has none.

    Returns:
        The user's message; of each call the assistant's and the tool's; the assistant's last. The
        assistant's contents joined are `text`.
    """
    messages = [asking_message(context)]
    end_of_last = 0
    for call in calls:
        said = text[end_of_last : call.character_offset]
        messages.append(calling_message(said, call.tool, call.arguments))
        messages.append({"role": "tool", "name": call.tool, "content": call.result})
        end_of_last = call.character_offset
    messages.append({"role": "assistant", "content": text[end_of_last:]})
    return messages
