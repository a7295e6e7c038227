"""Records of an export: nothing of a text or a call is lost, however odd it is."""

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

IDS = {"document_id": "d1", "window_index": 0, "shard": "shard-00000", "round": 1, "split": "train"}
CALCULATOR = tool_schema("Calculator", "Computes.", has_input=True, needs_input=True)


NO_PARAMETERS = {"type": "object", "properties": {}, "required": []}
PAIR = {
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
    calls = [{"type": "function", "function": function}]
    answer = [
        {"role": "assistant", "content": "A", "tool_calls": calls},
        {"role": "tool", "name": "Calculator", "content": "0.29"},
        {"role": "assistant", "content": " b."},
    ]
    asked = [{"role": "user", "content": INSTRUCTION}]
    assert chat_messages("A b.", [KeptCall(**call(1))], None) == asked + answer
    calendar = tool_schema("Calendar", "Says the day.", has_input=False, needs_input=False)
    assert calendar["function"]["parameters"] == NO_PARAMETERS
    record = chat_record(row("A b.", call(1), context="Why?"), [CALCULATOR, calendar])
    assert record["messages"] == [{"role": "user", "content": "Why?"}, *answer]
    assert record["tools"] == [CALCULATOR, calendar]


@given(text=st.text(min_size=1), offsets=st.lists(st.integers(0, 50), unique=True, max_size=4))
def test_what_the_assistant_says_is_the_text(text: str, offsets: list[int]):
    calls = [KeptCall(**call(min(offset, len(text)))) for offset in sorted(offsets)]
    messages = chat_messages(text, calls, None)
    assert "".join(m["content"] for m in messages if m["role"] == "assistant") == text
    assert [m["content"] for m in messages if m["role"] == "tool"] == ["0.29"] * len(calls)


def test_a_pair_differs_in_its_call_alone():
    record = pair_record(row("A b.") | PAIR, [CALCULATOR])
    (chosen,), (rejected,) = record["chosen"], record["rejected"]
    assert record["prompt"] == [{"role": "user", "content": INSTRUCTION}]
    assert chosen["content"] == rejected["content"] == "A"
    assert chosen["tool_calls"][0]["function"]["arguments"] == {"input": "1 + 1"}
    assert rejected["tool_calls"][0]["function"]["arguments"] == {"input": "1"}
    assert record["rejected_loss_reduction"] == -0.5
