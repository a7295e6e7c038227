"""The questions that a model answered right with a call, of which the server's page shows some."""

from tests.warehouse.rows import put
from warehouse.warehouse import Warehouse


def item(item_id: str, **changes: object) -> dict[str, object]:
    """An item that the finetuned model got right by a call of the Calculator."""
    right = {"item_id": item_id, "model": "finetuned", "mode": "enabled", "prompt": item_id}
    return right | {"called_tool": "Calculator", "benchmark": "sums"} | changes


def disabled(item_id: str, **changes: object) -> dict[str, object]:
    """The same without its call."""
    return item(item_id, mode="disabled", called_tool=None, **changes)


def test_right_answers_by_a_call_come_in_turn_those_first_that_need_it(warehouse: Warehouse):
    rows = [
        item("easy"),
        item("hard, longer"),
        item("hard"),
        item("searched", called_tool="QA"),
        # None of these is an example: wrong, without a call, of a day, of a study, too long.
        item("wrong", score=0.0),
        item("alone", called_tool=None),
        item("day", called_tool="Calendar"),
        item("study", mode="k-1"),
        item("long", prompt="x" * 301),
    ]
    without = [
        disabled(str(row["item_id"]), prompt=row["prompt"], score=float("hard" not in str(row)))
        for row in rows
    ]
    put(warehouse, "evaluation_results", *rows, *without, name="sums.finetuned")
    put(warehouse, "evaluation_results", item("base", model="base"), name="sums.base")
    # A question of a chat is no beginning of a text.
    of_chat = [made("asked", benchmark="sums-chat") for made in (item, disabled)]
    put(warehouse, "evaluation_results", *of_chat, name="sums-chat.finetuned")
    assert warehouse.ask("right_with_call", model="finetuned").rows() == [
        ("Calculator", "hard"),
        ("QA", "searched"),
        ("Calculator", "hard, longer"),
        ("Calculator", "easy"),
    ]
    assert warehouse.ask("right_with_call", model="plain").is_empty()


def test_six_examples_of_a_tool_are_enough(warehouse: Warehouse):
    rows = [made(f"{number:02}") for number in range(9) for made in (item, disabled)]
    put(warehouse, "evaluation_results", *rows, name="sums.finetuned")
    found = warehouse.ask("right_with_call", model="finetuned")
    assert found["prompt"].to_list() == [f"{number:02}" for number in range(6)]
