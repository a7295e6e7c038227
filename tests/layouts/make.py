"""Writes a small warehouse with the code of a checkout, for the tests of all later code.

    PYTHONPATH=CHECKOUT python tests/layouts/make.py tests/layouts/NAME

Beside the slices stands `rows.json`: what they hold, by `<table>/<shard>/<slice>`. Names nothing of
the warehouse but what every checkout since the slices have versions has.
"""

import json
import sys
from pathlib import Path

from tests.warehouse.rows import SHARD, SLICES, frame
from warehouse.warehouse import Warehouse

# A second call that is dropped, a third that cannot be read, and a second round.
_ROWS = {
    "documents": [{}, {"document_id": "d2", "source_offset": 2, "published_on": None}],
    "candidate_calls": [
        {},
        {"call_id": "c2", "sample_index": 1, "arguments": "1 + 1"},
        {
            "call_id": "c3",
            "sample_index": 2,
            "arguments": None,
            "status": "dropped",
            "reason": "not_a_call",
        },
    ],
    "executed_calls": [{}, {"call_id": "c2", "result": "2"}],
    "filtered_calls": [
        {},
        {
            "call_id": "c2",
            "is_kept": False,
            "reason": "below_threshold",
            "loss_with_result": 2.9,
            "loss_reduction": 0.1,
        },
    ],
}


def main() -> None:
    """Write the slices and their rows."""
    folder = Path(sys.argv[1])
    store = Warehouse(folder / "warehouse", folder / "unused.duckdb")
    frames = {
        (table, shard, name): frame(table, *_ROWS.get(table, ()))
        for table, (shard, name) in SLICES.items()
    }
    later = frame("candidate_calls", {"call_id": "c4", "round": 2, "arguments": "2 + 2"})
    frames["candidate_calls", SHARD, "round-2.Calculator"] = later
    for (table, shard, name), rows in frames.items():
        store.replace_slice(table, shard, name, rows, metadata={"fingerprint": f"of {table}"})
    written = {"/".join(key): json.loads(rows.write_json()) for key, rows in frames.items()}
    text = json.dumps(written, indent=1, ensure_ascii=False)
    (folder / "rows.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
