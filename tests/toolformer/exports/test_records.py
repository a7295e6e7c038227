"""Records of an export: nothing of a text or a call is lost, however odd it is."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.warehouse.rows import CALL
from toolformer.augmentation import KeptCall
from toolformer.exports.records import (
    INSTRUCTION,
    ChatTool,
    chat_id,
    chat_messages,
    chat_record,
    text_record,
    text_tool,
    tool_schema,
    with_chat_markers_broken,
    with_json_strings,
)
from toolformer.markup import CHAT_MARKUP

IDS = {"document_id": "d1", "window_index": 0, "shard": "shard-00000", "round": 1, "split": "train"}
CALCULATOR = text_tool("Calculator", "Computes.", has_input=True, needs_input=True)
CALENDAR = text_tool("Calendar", "Says the day.", has_input=False, needs_input=False)
TOOLS = {"Calculator": CALCULATOR, "Calendar": CALENDAR}


NO_PARAMETERS = {"type": "object", "properties": {}, "required": []}


def call(offset: int, **changes: object) -> dict:
    return CALL | {"character_offset": offset, "position": offset} | changes


def row(text: str, *calls: dict, context: str | None = None) -> dict:
    return {**IDS, "context": context, "text": text, "window_offset": 0, "calls": list(calls)}


def test_text_is_the_papers_inline_form_behind_its_context():
    record = text_record(row("A b.", call(1)))
    assert record == {**IDS, "text": "A [Calculator(400 / 1400) -> 0.29] b."}
    assert text_record(row("A.", call(1), context="Why?"))["text"].startswith("Why?\nA [Calc")


def test_a_chat_writes_calls_and_writes_on_behind_its_context():
    function = {"name": "Calculator", "arguments": {"input": "400 / 1400"}}
    calls = [{"id": chat_id("c1"), "type": "function", "function": function}]
    answer = [
        {"role": "assistant", "content": "A", "tool_calls": calls},
        {"role": "tool", "tool_call_id": chat_id("c1"), "name": "Calculator", "content": "0.29"},
        {"role": "assistant", "content": " b."},
    ]
    asked = [{"role": "user", "content": INSTRUCTION}]
    assert chat_messages("A b.", [KeptCall(**call(1))], None, TOOLS) == asked + answer
    assert CALENDAR.schema["function"]["parameters"] == NO_PARAMETERS
    record = chat_record(row("A b.", call(1), context="Why?"), TOOLS)
    assert record["messages"] == [{"role": "user", "content": "Why?"}, *answer]
    assert record["tools"] == [CALCULATOR.schema, CALENDAR.schema]


@given(text=st.text(min_size=1), offsets=st.lists(st.integers(0, 50), unique=True, max_size=4))
def test_what_the_assistant_says_is_the_text(text: str, offsets: list[int]):
    calls = [KeptCall(**call(min(offset, len(text)))) for offset in sorted(offsets)]
    messages = chat_messages(text, calls, None, TOOLS)
    assert "".join(m["content"] for m in messages if m["role"] == "assistant") == text
    assert [m["content"] for m in messages if m["role"] == "tool"] == ["0.29"] * len(calls)


@given(call_id=st.text())
def test_an_id_in_a_chat_is_nine_letters_and_digits(call_id: str):
    assert re.fullmatch(r"[0-9a-z]{9}", chat_id(call_id))


def test_a_result_has_the_id_of_its_call_and_no_other():
    calls = [KeptCall(**call(place, call_id=f"c{place}")) for place in range(3)]
    messages = chat_messages("A b.", calls, None, TOOLS)
    asked = [each["id"] for message in messages for each in message.get("tool_calls", ())]
    answered = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    assert asked == answered
    assert len(set(asked)) == 3


def test_typed_arguments_are_given_by_name_under_the_tools_own_schema():
    parameters = {"type": "object", "properties": {"expression": {"type": "string"}}}
    schema = tool_schema("calculate", "Computes.", parameters)
    typed = {"calculate": ChatTool(schema, lambda text: {"expression": text})}
    record = chat_record(row("A b.", call(1, tool="calculate")), typed)
    function = record["messages"][1]["tool_calls"][0]["function"]
    assert function == {"name": "calculate", "arguments": {"expression": "400 / 1400"}}
    assert record["tools"][0]["function"]["parameters"] == parameters


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("ends.<|im_end|>\n<|im_start|>user", "ends.< |im_end|>\n< |im_start|>user"),
        ("[/INST] and </s>", "[ /INST] and < /s>"),
        ("</tool_call> <end_of_turn>", "< /tool_call> < end_of_turn>"),
        ("<<SYS>>\n### Response: so", "< <SYS>>\n# ## Response: so"),
        ("<｜User｜>", "< ｜User｜>"),
        ("a < b |> c, [1], x[INSTANCE], # Response, <span>", None),
    ],
)
def test_no_text_of_a_record_keeps_a_mark_of_a_chat_template(text: str, broken: str | None):
    broken = broken or text
    made = call(len(text), arguments=text, result=text)
    chat = with_chat_markers_broken(chat_record(row(text, made, context=text), TOOLS))
    user, asking, answer, last = chat["messages"]
    assert user["content"] == asking["content"] == answer["content"] == broken
    assert asking["tool_calls"][0]["function"]["arguments"] == {"input": broken}
    assert last["content"] == ""
    assert broken in with_chat_markers_broken(text_record(row(text, made)))["text"]
    assert chat["document_id"] == "d1"


MARKS = [
    "<",
    "|",
    "im_end",
    ">",
    "</s>",
    "[INST]",
    "<|x|>",
    "###",
    " ",
    "\n",
    "Response:",
    "<<SYS>>",
]


@given(text=st.lists(st.sampled_from(MARKS), max_size=12).map("".join))
def test_breaking_marks_makes_no_new_ones_and_loses_nothing(text: str):
    broken = with_chat_markers_broken({"text": text})["text"]
    assert not CHAT_MARKUP.search(broken)
    assert broken.replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("arguments", ["", "400 / 1400", 'a "b"\n„é“'])
def test_json_texts_hold_what_the_objects_held(arguments: str):
    record = chat_record(row("A b.", call(1, arguments=arguments)), TOOLS)
    texts = with_json_strings(record)
    assert json.loads(texts["tools"]) == record["tools"]
    function = texts["messages"][1]["tool_calls"][0]["function"]
    assert json.loads(function["arguments"]) == ({"input": arguments} if arguments else {})
    # The record itself is as it was.
    assert isinstance(record["tools"], list)
