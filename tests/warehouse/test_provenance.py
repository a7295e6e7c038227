"""Where a call comes from, as the metadata of its partitions tells."""

import json

import pytest

from tests.warehouse.rows import CALL_TABLES, SHARD, frame, put, put_calls
from warehouse.warehouse import Warehouse

PARTS = {
    "language_model": json.dumps(["model-1", "<s>"]),
    "prompt": json.dumps("0f1e"),
    "window_tokens": "64",
}


def put_call(warehouse: Warehouse, call_id: str = "c1", *, round_number: int = 1, **more: str):
    """One call of a shard of its own in a round, and its text."""
    shard = SHARD if call_id == "c1" else f"shard-{call_id}"
    partition_name = "Calculator" if round_number == 1 else f"round-{round_number}.Calculator"
    call = {"call_id": call_id, "document_id": call_id, "round": round_number}
    for table in CALL_TABLES:
        facts = {"parts": json.dumps({**PARTS, "of": table}), "run": f"run of {table}", **more}
        put_calls(warehouse, call, tables=[table], shard=shard, name=partition_name, **facts)
    put(warehouse, "documents", {"document_id": call_id, "source_offset": 7}, shard=shard)


@pytest.fixture
def row(warehouse: Warehouse):
    def of_call(call_id: str = "c1") -> dict:
        sql = "select * from call_provenance where call_id = $call_id"
        (found,) = warehouse.query(sql, {"call_id": call_id}).rows(named=True)
        return found

    return of_call


def test_one_query_leads_from_a_kept_call_to_all_that_made_it(warehouse: Warehouse, row):
    put_call(warehouse, made_at="2026-01-02T03:04:05+00:00")
    put(warehouse, "prompts")
    found = row()
    assert found["is_kept"]
    assert (found["model"], found["bos_token"]) == ("model-1", "<s>")
    assert found["prompt_digest"] == "0f1e"
    assert found["prompt"] == frame("prompts")["text"][0]
    assert found["tool_version"] == "1"
    assert (found["document_id"], found["source"], found["source_offset"]) == (
        "c1",
        "starter.jsonl",
        7,
    )
    assert (found["window_index"], found["position"], found["character_offset"]) == (0, 3, 34)
    for stage, table in zip(
        ("sampling", "execution", "scoring", "decision"), CALL_TABLES, strict=True
    ):
        assert json.loads(found[f"{stage}_parts"])["of"] == table
        if stage != "scoring":
            assert found[f"{stage}_run"] == f"run of {table}"
    assert found["decided_at"] == "2026-01-02T03:04:05+00:00"


def test_a_round_without_a_prompt_has_none(warehouse: Warehouse, row):
    put_call(warehouse)
    parts = json.dumps({**PARTS, "prompt": "null"})
    put(warehouse, "candidate_calls", {"document_id": "c1"}, parts=parts)
    assert row()["model"] == "model-1"
    assert row()["prompt_digest"] is None


def test_a_call_that_was_not_executed_has_the_provenance_of_its_sample(warehouse: Warehouse, row):
    put_call(warehouse)
    for table in CALL_TABLES[1:]:
        warehouse.replace_partition(table, SHARD, "Calculator", frame(table)[:0], metadata={})
    found = row()
    assert found["sampling_run"] == "run of candidate_calls"
    assert found["is_kept"] is False
    absent = ("tool_version", "execution_run", "decision_parts")
    assert [found[name] for name in absent] == [None] * len(absent)


def test_the_newest_version_of_the_partitions_of_each_round_is_shown(warehouse: Warehouse, row):
    put_call(warehouse, made_at="before")
    put_call(warehouse, made_at="now")
    put_call(warehouse, "c2", round_number=2, made_at="second")
    assert (row("c1")["sampled_at"], row("c2")["sampled_at"]) == ("now", "second")
    rows = warehouse.query("select * from partition_metadata where made_at = 'now'")
    assert sorted(rows["table_name"]) == sorted(CALL_TABLES)
    assert set(rows.select("shard", "partition").rows()) == {(SHARD, "Calculator")}
    assert json.loads(rows["metadata"][0])["made_at"] == "now"
