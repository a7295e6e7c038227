"""Counts in catalogues: what the rows of partitions come to, without reading them."""

import random
from pathlib import Path

import msgspec
import polars as pl
import pytest

from tests.warehouse.rows import SAMPLED, SHARD, fill, put, put_calls, wrong_counts
from warehouse import reading
from warehouse.catalogue import Catalogue, read_catalogue, shards_in
from warehouse.counting import COUNTS
from warehouse.errors import DamagedPartitionError
from warehouse.layout import catalogue_file
from warehouse.needs import STATISTICS_VIEWS, needs_of
from warehouse.reading import Reader
from warehouse.warehouse import Warehouse

OTHER_SHARD = "shard-00001"
TOOLS = ("Calculator", "Calendar")
HUNDREDTHS = [number / 100 for number in range(-300, 301)]


def reduction(generator: random.Random) -> float:
    """Anything, a multiple of 0.01, or what is within or beyond the filter's tolerance of one."""
    if generator.random() < 0.3:
        return generator.gauss(0.2, 1.0)
    shift = generator.choice((0.0, -0.5e-9, 0.5e-9, -2e-9))
    return generator.choice(HUNDREDTHS) + shift


def decision(generator: random.Random, number: int, threshold: float) -> dict[str, object]:
    of_call = reduction(generator)
    is_kept = of_call >= threshold - 1e-9
    row: dict[str, object] = {
        "call_id": f"c{number}",
        "document_id": f"d{number // 12}",
        "window_index": number // 4 % 3,
        "position": number % 90,
        "proposed": generator.choice(("none", "position", "call")),
        "loss_reduction": of_call,
        "loss_with_result": 2.0 - of_call,
        "is_kept": is_kept,
        "reason": "kept" if is_kept else "below_threshold",
        "filtering_threshold": threshold,
        "lowest_threshold": -3.0,
    }
    if number < 30:
        by_chance = reduction(generator)
        row |= SAMPLED | {
            "loss_with_swapped_result": 2.0 - by_chance,
            "contrast": of_call - by_chance,
            "chance_reduction": by_chance,
            "is_kept_by_chance": by_chance >= threshold - 1e-9,
        }
    if number % 10 == 0:
        row |= {"is_kept": False, "reason": "not_finite", "loss_reduction": None}
    return row


@pytest.fixture(scope="module")
def random_rows(shared_warehouse: Warehouse) -> Warehouse:
    """Two shards, two tools and two rounds of scored calls, and a row of every other table."""
    warehouse = shared_warehouse
    fill(warehouse)
    generator = random.Random(0)
    for shard in (SHARD, OTHER_SHARD):
        for tool in TOOLS:
            for number, prefix in ((1, ""), (2, "round-2.")):
                threshold = 0.5 if tool == "Calculator" else 0.333
                calls = [
                    decision(generator, each, threshold)
                    | {
                        "tool": tool,
                        "round": number,
                        "duration_ms": generator.lognormvariate(1, 2),
                        "from_cache": each % 7 == 0,
                        "result": str(generator.randrange(40)),
                    }
                    for each in range(300)
                ]
                place = {"shard": shard, "name": f"{prefix}{tool}"}
                put_calls(warehouse, *calls, tables=["filtered_calls"], **place)
                executed = [call | {"reason": None} for call in calls]
                put_calls(warehouse, *executed, tables=["executed_calls"], **place)
    return warehouse


def test_counts_of_catalogues_are_those_of_the_rows(random_rows: Warehouse):
    assert wrong_counts(random_rows) == []


def test_every_hundredth_of_a_threshold_counts_as_the_filter_does(random_rows: Warehouse):
    stored = random_rows.query("select * from loss_reductions where round = 1")
    rows = random_rows.query(
        "select tool, document_id, window_index, shard, loss_reduction from filtered_calls "
        "where round = 1 and reason in ('kept', 'below_threshold')"
    )
    for tool in TOOLS:
        bins, calls = stored.filter(tool=tool), rows.filter(tool=tool)
        for threshold in HUNDREDTHS:
            reached = calls.filter(pl.col("loss_reduction") >= threshold - 1e-9)
            above = bins.filter(pl.col("reduction_bin") >= round(threshold * 100))
            assert above["calls"].sum() == reached.height
            texts = reached.select("shard", "document_id", "window_index").n_unique()
            assert above["texts"].sum() == texts


def test_a_threshold_between_hundredths_is_counted_where_all_shards_used_it(random_rows: Warehouse):
    columns = "filtering_threshold, kept_calls, kept_texts, chance_share from threshold_sweep"
    [(_, calls, texts, chance)] = random_rows.query(
        f"select {columns} where tool = 'Calendar' and round = 1 and filtering_threshold = 0.333"
    ).rows()
    kept = random_rows.query(
        "select count(*) as calls, count(distinct (shard, document_id, window_index)) as texts "
        "from filtered_calls where tool = 'Calendar' and round = 1 and is_kept"
    )
    assert (calls, texts) == kept.row(0)
    by_chance = random_rows.query(
        "select avg(is_kept_by_chance::integer) from filtered_calls "
        "where tool = 'Calendar' and round = 1 and is_in_chance_sample"
    )
    assert chance == pytest.approx(by_chance.item())


def test_a_threshold_between_hundredths_of_some_shards_is_not_guessed(warehouse: Warehouse):
    for shard, threshold in ((SHARD, 0.123), (OTHER_SHARD, 0.5)):
        changes = {"filtering_threshold": threshold, "lowest_threshold": 0.0}
        put(warehouse, "filtered_calls", changes, shard=shard)
    found = warehouse.query(
        "select filtering_threshold, kept_calls, kept_texts from threshold_sweep"
    )
    assert found.row(0) == (0.123, None, None)
    assert found.row(1) == (0.5, 2, 2)


def test_a_threshold_above_the_last_bin_is_counted_where_all_shards_used_it(warehouse: Warehouse):
    kept, threshold = (
        {"loss_reduction": 16.0, "loss_without_call": 20.0},
        {"filtering_threshold": 15.0},
    )
    losses = {"loss_call_without_result": 20.0, "loss_with_result": 4.0}
    put(warehouse, "filtered_calls", kept | losses | threshold)
    sweep = "select kept_calls, kept_texts from threshold_sweep where filtering_threshold = 15"
    assert warehouse.query(sweep).rows() == [(1, 1)]
    put(warehouse, "filtered_calls", {"call_id": "c2"}, shard=OTHER_SHARD)
    assert warehouse.query(sweep).rows() == [(None, None)]


def test_statistics_read_no_file_of_a_partition(warehouse: Warehouse):
    put(warehouse, "filtered_calls")
    [info] = warehouse.partitions("filtered_calls")
    assert info.path is not None
    info.path.unlink()
    assert warehouse.view("threshold_sweep").height > 1
    warehouse.retire(SHARD)
    assert warehouse.view("threshold_sweep").is_empty()


def test_statistics_at_once_are_those_one_by_one_and_read_the_catalogues_once(
    random_rows: Warehouse, monkeypatch
):
    counts_only_needs = [
        name for name in STATISTICS_VIEWS if needs_of(f"from {name}").is_counts_only
    ]
    assert {"call_statistics", "threshold_sweep", "drop_reasons"} <= set(counts_only_needs)
    one_by_one = {name: random_rows.view(name) for name in counts_only_needs}
    read = []
    catalogues = Reader.catalogues
    monkeypatch.setattr(Reader, "catalogues", lambda *of: read.append(of) or catalogues(*of))
    with random_rows.with_counts() as counted:
        for name, rows in one_by_one.items():
            assert sorted(counted.view(name).rows(), key=repr) == sorted(rows.rows(), key=repr)
        assert counted.view("call_statistics", round_number=1).height == 1
        assert len(read) == 1
        of_one = counted.query("select distinct shard from decision_counts", shards={OTHER_SHARD})
        assert of_one["shard"].to_list() == [OTHER_SHARD]
        assert counted.query("from all_calls").height == random_rows.query("from all_calls").height


def test_counts_at_once_and_rows_are_of_one_moment(warehouse: Warehouse):
    put_calls(warehouse, {"arguments": "1 + 1"}, shard=SHARD)
    with warehouse.snapshot().with_counts() as counted:
        put_calls(warehouse, {"arguments": "2 + 2"}, shard=SHARD)
        assert counted.query("select count(*) from kept_counts").item() == 1
        assert counted.query("select arguments from candidate_calls").item() == "1 + 1"
    assert warehouse.query("select arguments from candidate_calls").item() == "2 + 2"


@pytest.mark.parametrize("is_prepared", [True, False])
def test_counts_that_are_missing_or_older_are_taken_again(
    random_rows: Warehouse, monkeypatch, *, is_prepared: bool
):
    random_rows.prepare()
    right = {name: random_rows.query(f"from {name} order by all") for name in COUNTS}
    for shard in shards_in(random_rows.folder):
        catalogue = read_catalogue(random_rows.folder, shard)
        older = {
            key: msgspec.structs.replace(entry, counts=msgspec.Raw(b"{}"), counted_by="older")
            for key, entry in catalogue.partitions.items()
        }
        file = Path(catalogue_file(random_rows.folder, shard))
        file.write_bytes(Catalogue(shard, older).content())
    if is_prepared:
        # As another state of this project does, which counts otherwise.
        random_rows.database_file.unlink()
        random_rows.prepare()
        # They are stored.
        monkeypatch.setattr(reading, "with_new_counts", None)
    for name, rows in right.items():
        assert random_rows.query(f"from {name} order by all").equals(rows), name


def test_examples_read_only_the_shards_that_they_are_from(warehouse: Warehouse):
    for shard, gain in ((SHARD, 1.5), (OTHER_SHARD, 1.2)):
        call = {"call_id": f"c-{shard}", "document_id": f"d-{shard}", "loss_reduction": gain}
        put_calls(warehouse, call | {"loss_with_result": 0.0}, shard=shard)
        put(warehouse, "documents", {"document_id": f"d-{shard}"}, shard=shard)
    [*_, other] = warehouse.partitions("executed_calls")
    assert other.shard == OTHER_SHARD
    other.path.write_bytes(b"PAR1 nothing PAR1")
    of_calculator = [(1, "Calculator")]
    best = warehouse.best_examples(of_calculator, per_tool=1)
    assert best["loss_reduction"].to_list() == [1.5]
    with pytest.raises(DamagedPartitionError):
        warehouse.best_examples(of_calculator, per_tool=2)


def test_examples_begin_with_calls_whose_own_result_helps_more_than_anothers(warehouse: Warehouse):
    helps_anyway = {"loss_reduction": 1.5, "loss_with_swapped_result": 1.2, "contrast": 0.2}
    helps_itself = {"loss_reduction": 0.9, "loss_with_swapped_result": 1.8, "contrast": 0.8}
    of_call = {
        "loss_with_result": 1.0,
        "swapped_call_id": "c9",
        "contrast_threshold": 0.1,
        "filtering_threshold": 0.5,
    }
    fill(warehouse)
    other = helps_itself | {"call_id": "c2", "sample_index": 1}
    put_calls(warehouse, of_call | helps_anyway, of_call | other)
    examples = warehouse.best_examples([(1, "Calculator")], per_tool=2)
    assert examples["loss_reduction"].to_list() == [0.9, 1.5]
    assert examples["contrast"].round(6).to_list() == [0.8, 0.2]
    best = warehouse.best_examples([(1, "Calculator")], per_tool=1)
    assert best["loss_reduction"].to_list() == [0.9]
    assert warehouse.best_examples([(2, "Calculator"), (1, "Calendar")], per_tool=3).is_empty()
