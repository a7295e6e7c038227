"""A small home with calls to export: two texts, one of them odd, and calls of two tools."""

import json
from pathlib import Path

from tests.warehouse.rows import CALL, SHARD, frame
from warehouse.schema import tables
from warehouse.warehouse import Warehouse

PLAIN = "The mill ground 6 sacks, so 12 in two days."
ODD = 'Ein [Satz] -> \u2028„é“ 東京 🗼 \\ " ] {"a": [1]} und 3\nEnde'


def call(row: dict) -> dict:
    """A row of the other tables as it stands in `augmented_texts`."""
    return CALL | {name: row[name] for name in CALL if name in row}


def store(warehouse: Warehouse, table: str, shard: str, name: str, *changes: dict) -> None:
    of_shard = {} if shard == "all" else {"shard": shard}
    rows = frame(table, *({**of_shard, **change} for change in changes))
    warehouse.replace_partition(table, shard, name, rows, metadata={})


def store_calls(
    warehouse: Warehouse, tool: str, calls: list[dict], partition_name: str = ""
) -> None:
    """Candidates, results and decisions, from one row of changes for each call."""
    for table in ("candidate_calls", "executed_calls", "filtered_calls"):
        # Each has a reason of its own; here it is that of the decision.
        columns = {*tables()[table].column_names} - (
            {"reason"} if table != "filtered_calls" else set()
        )
        rows = [
            {"tool": tool} | {name: value for name, value in of_call.items() if name in columns}
            for of_call in calls
        ]
        store(warehouse, table, SHARD, partition_name or tool, *rows)


def records_of(file: Path) -> list[dict]:
    """What an export of lines holds."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


def fill_for_export(warehouse: Warehouse) -> Warehouse:
    """Two texts, one of them odd; dropped calls; a call that lost its position."""
    second = {"document_id": "d2", "text": ODD}
    texts = [{"document_id": "d1", "text": PLAIN}, {**second, "source_offset": 1}]
    store(warehouse, "documents", SHARD, "all", *texts)
    dropped = {"is_kept": False, "reason": "below_threshold"}

    def at(document: str, offset: int, **changes: object) -> dict:
        place = {"document_id": document, "character_offset": offset, "position": offset}
        return place | changes

    sums = [
        at("d1", 27, call_id="a1", arguments="2 * 6", result="12"),
        at("d1", 27, call_id="a2", arguments="6", result="6", sample_index=1, loss_reduction=0.25)
        | dropped,
        at("d1", 27, call_id="a3", arguments="0 / 6", result="0", sample_index=2)
        | {**dropped, "loss_reduction": None, "reason": "not_finite"},
        at("d2", 34, call_id="a4", arguments="1 + 2 „é“", result="3 東京 (1)", proposed="call"),
    ]
    store_calls(warehouse, "Calculator", sums)
    monday = {"arguments": "", "result": "Today is Monday."}
    days = [
        at("d1", 27, call_id="b1", loss_reduction=1.0, **monday),
        at("d2", 3, call_id="b2", **monday),
    ]
    store_calls(warehouse, "Calendar", days)
    of_second = [call(days[1] | {"tool": "Calendar"}), call(sums[3])]
    merged = [
        {**texts[0], "context": "How many\nsacks?", "calls": [call(sums[0])]},
        {**second, "calls": of_second},
    ]
    store(warehouse, "augmented_texts", SHARD, "all", *merged)
    store(warehouse, "training_texts", "all", "all", {**second, "calls": of_second})
    store(warehouse, "stage_costs", SHARD, "Calculator.sampling", {})
    return warehouse
