"""Records of an export: nothing of a text or a call is lost, however odd it is."""

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.warehouse.rows import CALL
from toolformer.augmentation import KeptCall
from toolformer.exports.records import (
    INSTRUCTION,
    chat_messages,
    chat_record,
    pair_record,
    text_record,
    tool_schema,
)

ODD = 'Ein [Satz] -> \u2028„é“ 東京 🗼 \\ " ] {"a": [1]}\n\tEnde\x00'
IDS = {"document_id": "d1", "window_index": 0, "shard": "shard-00000", "round": 1, "split": "train"}
CALCULATOR = tool_schema("Calculator", "Computes.", has_input=True, needs_input=True)


def call(offset: int, **changes: object) -> dict:
    return CALL | {"character_offset": offset, "position": offset} | changes


def row(text: str, *calls: dict, context: str | None = None) -> dict:
    return {**IDS, "context": context, "text": text, "window_offset": 0, "calls": list(calls)}


def test_text_is_the_papers_inline_form():
    record = text_record(row("A b.", call(1)))
    assert record == {**IDS, "text": "A [Calculator(400 / 1400) -> 0.29] b."}


def test_text_has_its_context_in_front_as_in_training():
    assert text_record(row("A.", call(1), context="Why?"))["text"].startswith("Why?\nA [Calc")


def test_a_chat_writes_calls_and_writes_on():
    assert chat_messages("A b.", [KeptCall(**call(1))], None) == [
        {"role": "user", "content": INSTRUCTION},
        {
            "role": "assistant",
            "content": "A",
            "tool_calls": [
                {
                    "type": "function",
                    "function": {"name": "Calculator", "arguments": {"input": "400 / 1400"}},
                }
            ],
        },
        {"role": "tool", "name": "Calculator", "content": "0.29"},
        {"role": "assistant", "content": " b."},
    ]


def test_the_context_of_a_text_is_what_the_user_says():
    record = chat_record(row("A b.", call(1), context="Why?"), [CALCULATOR])
    assert record["messages"][0] == {"role": "user", "content": "Why?"}
    assert record["tools"] == [CALCULATOR]


@given(text=st.text(min_size=1), offsets=st.lists(st.integers(0, 50), unique=True, max_size=4))
def test_what_the_assistant_says_is_the_text(text: str, offsets: list[int]):
    calls = [KeptCall(**call(min(offset, len(text)))) for offset in sorted(offsets)]
    messages = chat_messages(text, calls, None)
    assert "".join(m["content"] for m in messages if m["role"] == "assistant") == text
    assert [m["content"] for m in messages if m["role"] == "tool"] == ["0.29"] * len(calls)


def test_odd_text_survives_a_line_of_json():
    record = chat_record(row(ODD, call(5, arguments="„é“", result="東京 (1) to \u2028")), [])
    line = json.dumps(record, ensure_ascii=False)
    assert "\n" not in line
    assert json.loads(line) == record
    assert "".join(m["content"] for m in record["messages"] if m["role"] == "assistant") == ODD


def test_a_pair_differs_in_its_call_alone():
    of_pair = {
        "character_offset": 1,
        "tool": "Calculator",
        "chosen_call_id": "c1",
        "chosen_arguments": "1 + 1",
        "chosen_result": "2",
        "rejected_call_id": "c2",
        "rejected_arguments": "1",
        "rejected_result": "1",
        "chosen_loss_reduction": 1.5,
        "rejected_loss_reduction": -0.5,
    }
    record = pair_record(row("A b.") | of_pair, [CALCULATOR])
    (chosen,), (rejected,) = record["chosen"], record["rejected"]
    assert record["prompt"] == [{"role": "user", "content": INSTRUCTION}]
    assert chosen["content"] == rejected["content"] == "A"
    assert chosen["tool_calls"][0]["function"]["arguments"] == {"input": "1 + 1"}
    assert rejected["tool_calls"][0]["function"]["arguments"] == {"input": "1"}
    assert record["rejected_loss_reduction"] == -0.5


def test_a_tool_without_arguments_has_no_parameters():
    calendar = tool_schema("Calendar", "Says the day.", has_input=False, needs_input=False)
    assert calendar["function"]["parameters"] == {
        "type": "object",
        "properties": {},
        "required": [],
    }
