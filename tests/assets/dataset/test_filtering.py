"""Scoring and deciding on one shard with a tiny model, in two precisions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.fakes import save_tiny_model, tiny_model
from tests.homes import SmallHome
from tests.materialising import materialise, metadata_of
from tests.warehouse.rows import CALL_TABLES, SHARD, put, put_calls, save_manifest
from toolformer.filtering import CallLosses, decide
from toolformer.forward import precision
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.windows import split_into_windows
from toolformer.scoring.call_scorer import ScoredCall
from toolformer.scoring.losses import scorer_for
from toolformer.settings.annotation_sections import ScoringSettings
from tools.protocol import ToolCall

# Seconds each; `make test-fast` leaves them out.
pytestmark = pytest.mark.slow

TEXT = "Six crates of 24 make 144 bottles, sold before noon; 12 were broken, so 132 were paid."
TOOL = "Calculator"
CALLS = {f"c{place:02}": (place, f"{place} * 24", str(place * 24)) for place in range(40)}
# Of all the same text.
DOCUMENT_OF = {call_id: f"d{1 + at % 5}" for at, call_id in enumerate(CALLS)}
DOCUMENTS = sorted(set(DOCUMENT_OF.values()))


class ScoredHome(SmallHome):
    """A home with one shard whose calls are executed."""

    def run(
        self,
        threshold: float,
        *,
        precision: str = "bfloat16",
        contrast: float | None = None,
        **scoring: Any,
    ) -> Mapping[str, Any]:
        """Materialise both assets; gives the metadata of the shard, of both."""
        overrides = {
            "language_model": {"precision": precision},
            "tools": {TOOL: {"filtering_threshold": threshold, "contrast_threshold": contrast}},
            "scoring": {"lowest_threshold": 0.0, **scoring},
        }
        stages = ("scored_calls", "filtered_calls")
        return metadata_of(materialise(*stages, overrides=overrides, partition=SHARD, tools=[TOOL]))

    def rows(self, table: str = "filtered_calls") -> pl.DataFrame:
        return self.warehouse.read_partition(table, SHARD, TOOL)

    def metadata(self, table: str = "filtered_calls") -> dict[str, str]:
        return self.warehouse.partition_metadata(table, SHARD, TOOL) or {}

    def costs(self) -> dict[str, dict[str, Any]]:
        rows = self.warehouse.read_partitions("stage_costs", SHARD)
        return {row["stage"]: row for row in rows.iter_rows(named=True)}


@pytest.fixture(scope="module")
def model_directory(tmp_path_factory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def home(tmp_path, model_directory: Path, monkeypatch) -> ScoredHome:
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    made = ScoredHome(tmp_path)
    made.write_settings(
        {
            "language_model": {"path": str(model_directory), "device": "cpu"},
            "corpus": {"window_tokens": 64},
        }
    )
    made.warehouse.prepare()
    save_manifest(made.home.sources)
    calls = [
        {
            "call_id": call_id,
            "document_id": DOCUMENT_OF[call_id],
            "position": position,
            "arguments": arguments,
            "result": result,
        }
        for call_id, (position, arguments, result) in CALLS.items()
    ]
    documents = ({"document_id": name, "text": TEXT} for name in DOCUMENTS)
    put(made.warehouse, "documents", *documents, fingerprint="x")
    put_calls(made.warehouse, *calls, tables=CALL_TABLES[:2], fingerprint="x")
    return made


def exact_losses(folder: Path, results: Mapping[str, str]) -> dict[str, CallLosses]:
    """What float32 gives for these results, nothing left out."""
    model = tiny_model()
    windows = [
        window
        for name in DOCUMENTS
        for window in split_into_windows(name, TEXT, model.tokenizer, window_tokens=64)
    ]
    scorer = scorer_for(
        model,
        {(window.document_id, window.index): window for window in windows},
        ScoringSettings(token_budget=1024),
    )
    return scorer.score(
        [
            ScoredCall(
                call_id,
                (DOCUMENT_OF[call_id], 0),
                position,
                ToolCall(TOOL, arguments),
                results[call_id],
            )
            for call_id, (position, arguments, _) in CALLS.items()
            if call_id in results
        ],
        exact=set(results),
        checkpoint=Checkpoint(folder, fingerprint="x"),
        progress=lambda *_: None,
    )


def kept_in_float32(folder: Path, threshold: float) -> set[str]:
    losses = exact_losses(folder, {call_id: result for call_id, (_, _, result) in CALLS.items()})
    return {
        call_id
        for call_id, of_call in losses.items()
        if decide(of_call, filtering_threshold=threshold).is_kept
    }


def kept(rows: pl.DataFrame) -> set[str]:
    return set(rows.filter("is_kept")["call_id"])


def test_costs_of_an_earlier_making_are_gone_where_nothing_is_scored_now(home: ScoredHome):
    home.run(0.0, precision="float32")
    assert home.costs().keys() == {"scoring", "swapped_results"}
    failed = {"status": "failed", "reason": "no_result", "result": None}
    calls = [{"call_id": call_id, **failed} for call_id in CALLS]
    put(home.warehouse, "executed_calls", *calls, fingerprint="y")
    home.run(0.0, precision="float32")
    assert home.costs() == {}


def test_a_processor_scores_in_float32_whatever_it_samples_in(home: ScoredHome, tmp_path):
    reported = home.run(0.5, lowest_threshold=0.5, precision="bfloat16")
    rows = home.rows("scored_calls")
    assert rows.height == len(CALLS) == reported["scored in float32"]
    assert kept(home.rows()) == kept_in_float32(tmp_path / "exact", 0.5)
    exact = exact_losses(tmp_path / "again", {key: call[2] for key, call in CALLS.items()})
    with_result = rows.drop_nulls("loss_with_result")
    for row in with_result.iter_rows(named=True):
        assert row["loss_with_result"] == pytest.approx(
            exact[row["call_id"]].loss_with_result, abs=1e-4
        )
    assert set(rows.filter("is_in_chance_sample")["call_id"]) <= set(with_result["call_id"])
    swapped = set(rows.filter(pl.col("swapped_call_id").is_not_null())["call_id"])
    assert swapped == kept(home.rows()) | set(rows.filter("is_in_chance_sample")["call_id"])
    costs = home.costs()
    assert {name: costs[name]["precision"] for name in costs} == {
        "scoring": "float32",
        "swapped_results": "float32",
    }
    assert costs["scoring"]["candidates"] == rows.height
    assert all(each["tokens_fed"] > 0 for each in costs.values())
    assert not list(home.home.checkpoints.rglob("*.json"))


def test_other_thresholds_and_a_contrast_load_no_model_and_are_those_of_float32(
    home: ScoredHome, tmp_path, request
):
    home.run(1.0)
    before, scored = home.rows(), home.metadata("scored_calls")
    request.getfixturevalue("no_model")
    assert "up to date" in home.run(1.0)["partitions"]
    for threshold in (0.0, 0.3, 50.0):
        home.run(threshold)
        assert kept(home.rows()) == kept_in_float32(tmp_path / str(threshold), threshold)
    home.run(0.0, contrast=0.3)
    rows = home.rows()
    expected = rows.filter(
        (pl.col("loss_reduction") >= 0)
        & (pl.col("loss_with_swapped_result") - pl.col("loss_with_result") >= 0.3)
    )
    assert 0 < expected.height < rows.filter(pl.col("loss_reduction") >= 0).height
    assert kept(rows) == set(expected["call_id"])
    assert home.metadata("scored_calls") == scored
    assert rows["loss_with_result"].sort().equals(before["loss_with_result"].sort())


def test_another_choice_of_auto_makes_nothing_stale(home: ScoredHome, request, monkeypatch):
    monkeypatch.setattr(precision, "is_faster_in_bfloat16", lambda: True)
    home.run(0.5, precision="auto", lowest_threshold=0.5)
    before = home.rows()
    assert set(before["precision"]) == {"float32"}
    monkeypatch.setattr(precision, "is_faster_in_bfloat16", lambda: False)
    request.getfixturevalue("no_model")
    reported = home.run(0.5, precision="auto", lowest_threshold=0.5)
    assert "up to date" in reported["partitions"]
    assert home.rows().equals(before)


def test_a_tool_that_always_says_the_same_keeps_no_call_with_a_contrast(home: ScoredHome):
    rows = ({"call_id": call_id, "result": "24"} for call_id in CALLS)
    put(home.warehouse, "executed_calls", *rows, fingerprint="same")
    home.run(0.0, precision="float32", contrast=0.1)
    rows = home.rows()
    assert rows["swapped_call_id"].null_count() == rows.height
    reasons = set(rows.filter(pl.col("loss_reduction") >= 0)["reason"])
    assert reasons <= {"no_swapped_result", "bound_below_lowest_threshold"}
    assert "no_swapped_result" in reasons
    assert home.costs()["swapped_results"]["tokens_fed"] == 0
