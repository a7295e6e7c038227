"""What two homes keep: each reason by rows made by hand, and which files are read."""

import json
from collections import Counter
from typing import Any

import pytest

from tests.warehouse.rows import SHARD, TEXT, frame, put
from warehouse.comparison import Comparison
from warehouse.errors import ComparisonError, DamagedPartitionError
from warehouse.warehouse import Warehouse

# Where the decision of a call follows from it.
THRESHOLD = 1.0


def put_home(warehouse: Warehouse, *calls: dict[str, Any], tool: str = "Calculator", **of: Any):
    """Store calls in all tables that a comparison reads, each as far as it came.

    A call is what differs from the one that is kept: `sampling` or `execution` is the reason why it
    was dropped there, `threshold` the filtering threshold. `of` is what the partitions are made of.
    """
    shard, number = of.pop("shard", SHARD), of.pop("round_number", 1)
    metadata = {"fingerprint": of.pop("fingerprint", f"of {warehouse.folder}"), **of}
    rows: dict[str, list[dict[str, Any]]] = {
        "candidate_calls": [],
        "executed_calls": [],
        "filtered_calls": [],
    }
    for call in ({"call_id": "c1"} | call for call in calls):
        place = {"tool": tool, "shard": shard, "round": number}
        place |= {key: call[key] for key in ("call_id", "document_id") if key in call}
        sampled = {key: call[key] for key in ("arguments", "sample_index") if key in call}
        if reason := call.get("sampling"):
            sampled |= {"status": "dropped", "reason": reason}
        rows["candidate_calls"].append(place | sampled)
        if reason:
            continue
        answer = {"tool": tool, "shard": shard, "round": number, "call_id": call["call_id"]}
        answer |= {"result": call.get("result", "0.29"), "peeks": "peeks" in call.values()}
        if reason := call.get("execution"):
            answer |= {"status": "failed", "reason": reason, "result": None}
        rows["executed_calls"].append(answer)
        if reason:
            continue
        reduction, threshold = call.get("reduction", 1.5), call.get("threshold", THRESHOLD)
        is_kept = reduction >= threshold
        rows["filtered_calls"].append(
            place
            | {"loss_reduction": reduction, "loss_with_result": 3.0 - reduction}
            | {"filtering_threshold": threshold, "is_kept": is_kept}
            | {"reason": "kept" if is_kept else "below_threshold"}
            | call.get("losses", {})
        )
    name = tool if number == 1 else f"round-{number}.{tool}"
    for table, of_table in rows.items():
        warehouse.replace_partition(
            table,
            shard,
            name,
            frame(table, *of_table) if of_table else frame(table).clear(),
            metadata=metadata,
        )


@pytest.fixture
def homes(tmp_path) -> tuple[Warehouse, Warehouse]:
    """Two homes of the same two texts."""
    roots = tmp_path / "one", tmp_path / "two"
    made = [Warehouse(root / "warehouse", root / "warehouse.duckdb") for root in roots]
    for warehouse in made:
        texts = {}, {"document_id": "d2", "source_offset": 1}
        put(warehouse, "documents", *texts, fingerprint="texts")
    return made[0], made[1]


def damage(warehouse: Warehouse, table: str, name: str) -> None:
    """Overwrite the rows of a partition; its footer stays."""
    (path,) = [info.path for info in warehouse.partitions(table) if info.name == name]
    content = bytearray(path.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[4:footer] = bytes(footer - 4)
    path.write_bytes(content)


def counted(compared: Comparison) -> dict[tuple[str, str | None], int]:
    counts = Counter[tuple[str, str | None]]()
    for row in compared.counts.iter_rows(named=True):
        counts[row["kept_by"], row["why"]] += row["calls"]
    return dict(counts)


@pytest.mark.parametrize(
    ("other", "why", "reason"),
    [
        ({"threshold": 1.6}, "threshold", "below_threshold"),
        # Within what two engines may differ by.
        ({"threshold": 1.6, "reduction": 1.50004}, "threshold", "below_threshold"),
        ({"reduction": 0.5}, "losses", "below_threshold"),
        ({"reduction": 0.5, "threshold": 1.6}, "losses", "below_threshold"),
        # The other home needed no more losses to see that its threshold is out of reach.
        (
            {
                "threshold": 4.0,
                "losses": {
                    "loss_with_result": None,
                    "loss_call_without_result": None,
                    "lowest_threshold": 3.5,
                    "loss_reduction": 3.0,
                    "reason": "loss_without_call_below_lowest_threshold",
                },
            },
            "threshold",
            "loss_without_call_below_lowest_threshold",
        ),
        ({"result": "0.3", "reduction": 0.2}, "result", "below_threshold"),
        ({"execution": "too_slow"}, "result", "too_slow"),
        ({"execution": "peeks"}, "candidate", "peeks"),
        ({"sampling": "leaks"}, "candidate", "leaks"),
        ({"arguments": "400 / 1401"}, "candidate", "not_sampled"),
        ({"document_id": "d2"}, "candidate", "not_sampled"),
    ],
)
def test_why_only_one_home_keeps_a_call(homes, other, why, reason):
    keeping, dropping = homes
    # A kept call that both sampled alike beside it.
    also = {"call_id": "c2", "document_id": "d2", "arguments": "1 + 1"}
    put_home(keeping, {}, also)
    own = {"reduction": 0.5} if reason == "not_sampled" else {}
    put_home(dropping, own | other, also)
    compared = keeping.compare(dropping)
    assert counted(compared) == {("both", None): 1, ("first", why): 1}
    (example,) = compared.examples.iter_rows(named=True)
    assert (example["why"], example["other_reason"]) == (why, reason)
    assert example["text_before"] + example["text_after"] == TEXT
    assert (example["arguments"], example["result"]) == ("400 / 1400", "0.29")


def test_the_second_home_is_compared_as_the_first(homes):
    put_home(homes[0], {"call_id": "c2", "arguments": "1"}, {"reduction": 0.5})
    put_home(homes[1], {"call_id": "c2", "arguments": "2"}, {})
    expected = {("first", "candidate"): 1, ("second", "candidate"): 1, ("second", "losses"): 1}
    compared = homes[0].compare(homes[1])
    assert counted(compared) == expected
    assert compared.examples["kept_by"].to_list() == ["first", "second", "second"]


def test_ten_examples_are_of_all_reasons_in_turn(homes):
    sampled = [{"call_id": f"a{n}", "arguments": str(n), "reduction": 9.0} for n in range(20)]
    put_home(homes[0], *sampled, {})
    put_home(homes[1], {"reduction": 0.5}, {"call_id": "b", "arguments": "x"})
    examples = homes[0].compare(homes[1]).examples
    assert examples.height == 10
    expected = [("first", "candidate"), ("first", "losses"), ("second", "candidate")]
    assert examples.select("kept_by", "why").rows()[:4] == [*expected, expected[0]]


def test_a_sample_with_another_number_is_the_same_call(homes):
    put_home(homes[0], {"call_id": "a"})
    duplicate = {"call_id": "x", "sampling": "duplicate", "sample_index": 0}
    put_home(homes[1], {"call_id": "b", "sample_index": 1, "reduction": 0.5}, duplicate)
    compared = homes[0].compare(homes[1])
    assert counted(compared) == {("first", "losses"): 1}
    assert compared.examples["other_loss_reduction"].to_list() == [0.5]


def test_samples_whose_arguments_the_other_tool_refuses_count_a_call_once(homes):
    put_home(homes[0], {})
    refused = {"sampling": "invalid_arguments"}
    put_home(homes[1], refused, refused | {"call_id": "c2", "sample_index": 1})
    assert counted(homes[0].compare(homes[1])) == {("first", "candidate"): 1}


def test_a_text_or_tool_that_the_other_home_has_not_is_told_apart_from_a_call_not_sampled(homes):
    put_home(homes[0], {}, {"call_id": "c2", "document_id": "d3"})
    put_home(homes[0], {"call_id": "c3"}, tool="Calendar")
    put_home(homes[1], {})
    compared = homes[0].compare(homes[1])
    assert counted(compared) == {("both", None): 1, ("first", "text"): 2}


def test_a_text_that_was_edited_in_its_place_is_another(homes):
    for warehouse in homes:
        calls = ({"call_id": f"c{document}", "document_id": document} for document in ("d1", "d2"))
        put_home(warehouse, *calls)
    texts = {"text": TEXT.replace("passed", "failed")}, {"document_id": "d2", "source_offset": 1}
    put(homes[1], "documents", *texts, fingerprint="edited")
    assert counted(homes[0].compare(homes[1])) == {
        ("both", None): 1,
        ("first", "text"): 1,
        ("second", "text"): 1,
    }


def test_partitions_made_of_the_same_are_counted_and_not_read(homes):
    for warehouse in homes:
        put_home(warehouse, {}, {"call_id": "c2", "arguments": "2"}, fingerprint="same")
    put_home(homes[0], {"call_id": "c3"}, tool="Calendar")
    put_home(homes[1], {"call_id": "c3", "threshold": 2.0}, tool="Calendar")
    # Rows that cannot be read.
    damage(homes[1], "candidate_calls", "Calculator")
    damage(homes[1], "filtered_calls", "Calculator")
    compared = homes[0].compare(homes[1])
    assert (compared.equal, compared.read) == (1, 2)
    assert counted(compared) == {("both", None): 2, ("first", "threshold"): 1}


@pytest.mark.parametrize(
    ("other", "why"), [({"execution": "timeout"}, "result"), ({"reduction": 0.9}, "losses")]
)
def test_other_decisions_made_of_the_same_are_read(homes, other: dict[str, Any], why: str):
    also = {"call_id": "c2", "arguments": "2"}
    put_home(homes[0], {}, also, fingerprint="same")
    put_home(homes[1], other, also, fingerprint="same")
    assert counted(homes[0].compare(homes[1])) == {("both", None): 1, ("first", why): 1}


def test_equal_homes_are_compared_by_catalogues_alone(homes):
    for warehouse in homes:
        put_home(warehouse, {}, {"call_id": "c2", "reduction": 0.1}, fingerprint="same")
        put_home(warehouse, tool="Calendar", fingerprint="same without a call")
    compared = homes[0].compare(homes[1])
    assert counted(compared) == {("both", None): 1}
    assert compared.examples.is_empty()
    assert compared.read == 0


def test_rounds_of_one_home_are_compared(homes):
    put_home(homes[0], {}, {"call_id": "c2", "arguments": "2 / 3"})
    put_home(homes[0], {"call_id": "r2"}, round_number=2, fingerprint="of round 2")
    compared = homes[0].compare(homes[0], (1, 2))
    assert counted(compared) == {("both", None): 1, ("first", "candidate"): 1}


def test_shards_may_be_cut_otherwise(homes):
    put_home(homes[0], {})
    put(homes[1], "documents", {"document_id": "d2"})
    put(homes[1], "documents", {}, shard="shard-00007")
    put_home(homes[1], {"reduction": 0.5}, shard="shard-00007")
    assert counted(homes[0].compare(homes[1])) == {("first", "losses"): 1}


def test_what_a_build_makes_anew_is_left_out_and_named(homes):
    made_from = json.dumps({f"candidate_calls of {SHARD}, Calculator": "older"})
    put_home(homes[0], {"reduction": 1.9}, made_from=made_from)
    put_home(homes[1], {})
    for warehouse in homes:
        put_home(warehouse, {"call_id": "c3"}, tool="Calendar")
    compared = homes[0].compare(homes[1])
    assert compared.unfinished == [(SHARD, "Calculator")]
    assert counted(compared) == {("both", None): 1}


def test_other_models_are_told(homes):
    for number, warehouse in enumerate(homes):
        parts = json.dumps({"language_model": json.dumps([f"model {number}", None])})
        put_home(warehouse, {"reduction": 1.5 + number}, parts=parts)
    assert not homes[0].compare(homes[1]).is_same_model
    assert homes[0].compare(homes[0]).is_same_model


def test_homes_without_a_text_in_common_are_refused(homes):
    put_home(homes[0], {})
    put(homes[1], "documents", {"document_id": "d9"})
    put_home(homes[1], {"document_id": "d9"})
    with pytest.raises(ComparisonError, match="No kept call is in a text that both"):
        homes[0].compare(homes[1])


def test_a_round_without_decisions_is_refused_with_those_that_there_are(homes):
    put_home(homes[0], {})
    with pytest.raises(ComparisonError, match="Expected a home that was built"):
        homes[0].compare(homes[1])
    with pytest.raises(ComparisonError, match=r"Expected one of the rounds 1 \(--rounds\)"):
        homes[0].compare(homes[0], (1, 2))


def test_a_damaged_partition_is_named(homes):
    for warehouse in homes:
        put_home(warehouse, {})
    damage(homes[1], "candidate_calls", "Calculator")
    with pytest.raises(DamagedPartitionError, match="candidate_calls"):
        homes[0].compare(homes[1])


def test_a_lost_partition_is_named(homes):
    for warehouse in homes:
        put_home(warehouse, {})
    [path] = [each.path for each in homes[1].partitions("candidate_calls") if each.path]
    path.unlink()
    with pytest.raises(DamagedPartitionError, match=f"'{path}' is missing"):
        homes[0].compare(homes[1])
