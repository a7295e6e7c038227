from pathlib import Path

import polars as pl
import pytest

from tests.warehouse.rows import CALL, PARTITIONS, SAMPLED, SHARD, TEXT, frame, remove_partition
from warehouse.errors import PartitionValidationError, UnknownTableError
from warehouse.warehouse import Warehouse


def files(warehouse: Warehouse) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in warehouse.folder.rglob("*") if path.is_file()}


def write(warehouse: Warehouse, table: str, rows: pl.DataFrame) -> None:
    warehouse.replace_partition(table, *PARTITIONS[table], rows, metadata={})


SAMPLED_LOSSES = {
    name: SAMPLED[name]
    for name in ("is_in_chance_sample", "swapped_call_id", "loss_with_swapped_result")
}


ACCEPTED = [
    *((table, {}) for table in PARTITIONS),
    ("candidate_calls", {"status": "dropped", "reason": "not_a_call", "arguments": None}),
    ("candidate_calls", {"status": "dropped", "reason": "duplicate"}),
    ("candidate_calls", {"status": "dropped", "reason": "look_ahead"}),
    ("executed_calls", {"status": "failed", "reason": "division_by_zero", "result": None}),
    (
        "filtered_calls",
        {"loss_with_result": float("inf"), "loss_reduction": None, "is_kept": False}
        | {"reason": "not_finite", "loss_call_without_result": None},
    ),
    (
        "filtered_calls",
        {"loss_with_result": None, "loss_call_without_result": None, "is_kept": False}
        | {"reason": "loss_without_call_below_lowest_threshold", "loss_reduction": 0.3},
    ),
    ("filtered_calls", {"loss_reduction": 1.0 - 1e-10}),
    ("filtered_calls", {"baseline": "without_call", "loss_call_without_result": None}),
    (
        "filtered_calls",
        {"contrast_threshold": 0.5, "contrast": 0.5}
        | {"loss_with_swapped_result": 2.0, "swapped_call_id": "c2"},
    ),
    ("filtered_calls", SAMPLED),
    ("scored_calls", {"second_swapped_call_id": "c3", **SAMPLED_LOSSES}),
    (
        "filtered_calls",
        {"contrast_threshold": 0.5, "is_kept": False, "reason": "no_swapped_result"},
    ),
    ("evaluation_results", {"score": None}),
    ("augmented_texts", {"calls": [CALL | {"character_offset": len(TEXT)}]}),
]


@pytest.mark.parametrize(("table", "change"), ACCEPTED)
def test_correct_and_rare_rows_are_accepted_and_read_back_equal(
    shared_warehouse: Warehouse, table: str, change: dict[str, object]
):
    rows = frame(table, change)
    write(shared_warehouse, table, rows)
    assert shared_warehouse.read_partition(table, *PARTITIONS[table]).equals(rows)
    remove_partition(shared_warehouse, table, *PARTITIONS[table])


REFUSED = [
    ("documents", {"text": None}, ["text", "NULL"]),
    ("documents", {"source_offset": -1}, ["source_offset"]),
    ("documents", {"shard": "shard-00001"}, ["shard", "'shard-00001'", "'shard-00000'"]),
    ("rejected_records", {"reason": "Not JSON"}, ["reason"]),
    ("candidate_calls", {"tool": "Calendar"}, ["tool", "'Calendar'", "'Calculator'"]),
    ("candidate_calls", {"round": 2}, ["round", "2"]),
    ("candidate_calls", {"position": -1}, ["position"]),
    ("candidate_calls", {"call_probability": 1.5}, ["call_probability"]),
    ("candidate_calls", {"call_probability": float("nan")}, ["call_probability"]),
    ("candidate_calls", {"status": "unknown"}, ["status", "parsed"]),
    ("candidate_calls", {"status": "dropped"}, ["status", "reason"]),
    ("candidate_calls", {"status": "dropped", "reason": "Look ahead"}, ["reason"]),
    ("candidate_calls", {"arguments": None}, ["arguments"]),
    (
        "candidate_calls",
        {"arguments": None, "status": "dropped", "reason": "duplicate"},
        ["arguments"],
    ),
    (
        "candidate_calls",
        {"arguments": None, "status": "dropped", "reason": "look_ahead"},
        ["arguments"],
    ),
    ("executed_calls", {"result": ""}, ["result", "''"]),
    ("executed_calls", {"status": "failed", "reason": "timeout"}, ["result"]),
    ("executed_calls", {"status": "failed", "result": None}, ["reason"]),
    ("executed_calls", {"reason": "why"}, ["reason"]),
    ("filtered_calls", {"loss_without_call": None}, ["loss_without_call"]),
    ("filtered_calls", {"loss_reduction": None}, ["loss_reduction"]),
    ("filtered_calls", {"is_kept": False}, ["is_kept"]),
    ("filtered_calls", {"reason": "below_threshold"}, ["is_kept"]),
    ("filtered_calls", {"loss_reduction": 0.9}, ["loss_reduction"]),
    ("filtered_calls", {"loss_with_result": None}, ["loss_with_result"]),
    ("filtered_calls", {"loss_reduction": float("nan")}, ["loss_reduction", "nan"]),
    ("filtered_calls", {"contrast_threshold": 0.5}, ["contrast_threshold"]),
    ("filtered_calls", {"loss_call_without_result": None}, ["loss_call_without_result"]),
    ("filtered_calls", {"baseline": "other"}, ["baseline"]),
    (
        "filtered_calls",
        {"contrast_threshold": 0.5, "contrast": 0.4}
        | {"loss_with_swapped_result": 1.9, "swapped_call_id": "c2"},
        ["contrast"],
    ),
    (
        "filtered_calls",
        {"filtering_threshold": 0.05, "loss_reduction": 0.5},
        ["filtering_threshold"],
    ),
    ("filtered_calls", {"is_kept_by_chance": False}, ["is_in_chance_sample"]),
    ("scored_calls", {"loss_with_swapped_result": 2.0}, ["swapped_call_id"]),
    ("scored_calls", {"is_in_chance_sample": True}, ["is_in_chance_sample"]),
    ("scored_calls", SAMPLED_LOSSES | {"swapped_call_id": "c1"}, ["swapped_call_id"]),
    ("scored_calls", {"second_swapped_call_id": "c3"}, ["second_swapped_call_id"]),
    ("scored_calls", SAMPLED_LOSSES | {"second_swapped_call_id": "x"}, ["second_swapped_call_id"]),
    (
        "scored_calls",
        SAMPLED_LOSSES | {"loss_with_second_swapped_result": 1.0},
        ["loss_with_second_swapped_result"],
    ),
    ("evaluation_results", {"score": float("nan")}, ["score", "nan"]),
    ("augmented_texts", {"calls": []}, ["calls"]),
    ("augmented_texts", {"calls": None}, ["calls", "NULL"]),
    ("training_texts", {"split": "test"}, ["split"]),
    ("training_texts", {"calls": [], "split": "development"}, ["calls", "split"]),
    ("training_exclusions", {"reason": "no_call"}, ["reason"]),
    ("training_exclusions", {"similarity": None}, ["similarity"]),
    ("training_exclusions", {"other_document_id": None}, ["other_document_id"]),
    ("training_exclusions", {"shared_ngram": "six crates"}, ["shared_ngram"]),
    ("training_exclusions", {"reason": "over_cap"}, ["other_document_id"]),
    ("stage_costs", {"tool": "QA"}, ["tool", "'QA'", "'Calculator'"]),
    ("stage_costs", {"tokens_fed": -1}, ["tokens_fed"]),
    ("evaluation_results", {"benchmark": "perplexity"}, ["benchmark", "'perplexity'"]),
    ("evaluation_results", {"score_weight": -1.0}, ["score_weight"]),
]


@pytest.mark.parametrize(("table", "change", "words"), REFUSED)
def test_wrong_row_is_refused_with_its_rule_and_nothing_on_disk_changes(
    shared_warehouse: Warehouse, table: str, change: dict[str, object], words: list[str]
):
    before = files(shared_warehouse)
    with pytest.raises(PartitionValidationError) as caught:
        write(shared_warehouse, table, frame(table, change))
    for word in [table, *words]:
        assert word in str(caught.value)
    assert files(shared_warehouse) == before


def test_two_rows_with_one_key_are_refused(shared_warehouse: Warehouse):
    with pytest.raises(PartitionValidationError, match='duplicate key "d1"'):
        write(shared_warehouse, "documents", frame("documents", {}, {"text": "Another."}))


def test_columns_are_matched_by_name_not_by_place(shared_warehouse: Warehouse):
    rows = frame("augmented_texts")
    write(shared_warehouse, "augmented_texts", rows.select(reversed(rows.columns)))
    assert shared_warehouse.read_partition("augmented_texts", SHARD, "all").equals(rows)
    remove_partition(shared_warehouse, "augmented_texts", SHARD, "all")


@pytest.mark.parametrize(
    ("table", "column", "values"),
    [
        ("candidate_calls", "position", [1.5]),
        ("candidate_calls", "position", ["3"]),
        ("candidate_calls", "position", [2**40]),
        ("documents", "text", [3]),
        ("documents", "published_on", ["2020-05-04"]),
        ("augmented_texts", "calls", [[{"tool": "Calculator"}]]),
        # Fields are matched by place.
        ("augmented_texts", "calls", [[dict(reversed(CALL.items()))]]),
        ("augmented_texts", "calls", [["Calculator"]]),
    ],
)
def test_value_is_never_converted_in_silence(
    shared_warehouse: Warehouse, table: str, column: str, values: list[object]
):
    rows = frame(table).with_columns(pl.Series(column, values))
    with pytest.raises(PartitionValidationError, match=rf"'{column}' of table '{table}'"):
        write(shared_warehouse, table, rows)


def test_a_frame_lacks_and_has_no_column_but_those_of_the_table(shared_warehouse: Warehouse):
    rows = frame("evaluation_results")
    write(shared_warehouse, "evaluation_results", rows.drop("gold"))
    stored = shared_warehouse.read_partition("evaluation_results", "all", "dateset.base")
    assert stored["gold"].to_list() == [None]
    remove_partition(shared_warehouse, "evaluation_results", "all", "dateset.base")
    for wrong in (rows.drop("metric"), rows.rename({"gold": "golden"})):
        with pytest.raises(PartitionValidationError, match="column"):
            write(shared_warehouse, "evaluation_results", wrong)


@pytest.mark.parametrize(
    ("table", "shard", "name"),
    [
        *(("documents", shard, "all") for shard in ("", "Shard", "../x", "a,b", "none")),
        *(("documents", SHARD, name) for name in ("", "a/b", "..", ".hidden", "a b")),
        ("training_texts", SHARD, "all"),
        ("document", SHARD, "all"),
    ],
)
def test_names_that_cannot_be_paths_or_tables_are_refused(
    shared_warehouse: Warehouse, table: str, shard: str, name: str
):
    rows = frame("documents" if table == "document" else table)
    with pytest.raises(
        (PartitionValidationError, UnknownTableError), match=r"cannot be stored|There is no table"
    ):
        shared_warehouse.replace_partition(table, shard, name, rows, metadata={})
