"""Scoring one shard with a tiny model: two precisions, stored losses and the chance sample."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from ruamel.yaml import YAML

from assets.filtering import filtered_calls
from dagster_project.fingerprints import FINGERPRINT
from dagster_project.home import Home
from dagster_project.partitions import SHARDS
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.toolbox import ToolboxResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.wiring.precision import ANNOTATION, settled_precision
from tests.fakes import tiny_model
from tests.warehouse.rows import SHARD, frame, save_manifest
from toolformer.calls import CallFormat
from toolformer.filtering import Baseline, CallLosses, decide
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.precision import PrecisionChoice
from toolformer.forward.windows import split_into_windows
from toolformer.loss_form import PAPERS_FORM, LossForm, Placement
from toolformer.loss_weights import window_weights
from toolformer.losses import ScoredCall, TextLosses, score_calls
from tools.protocol import ToolCall
from warehouse.warehouse import Warehouse

# Seconds each; `make test-fast` leaves them out.
pytestmark = pytest.mark.slow

TEXT = "Six crates of 24 make 144 bottles, sold before noon; 12 were broken, so 132 were paid."
TOOL = "Calculator"
CALLS = {f"c{place:02}": (place, f"{place} * 24", str(place * 24)) for place in range(40)}


class ScoredHome:
    """A home with one shard whose calls are executed."""

    def __init__(self, root: Path):
        self.home = Home(root)
        self.warehouse = Warehouse(self.home.warehouse, self.home.database)

    def run(
        self,
        threshold: float,
        *,
        precision: str = "bfloat16",
        contrast: float | None = None,
        **scoring: Any,
    ) -> Mapping[str, Any]:
        """Materialise the asset; gives the metadata of the shard."""
        overrides = {
            "language_model": {"precision": precision},
            "tools": {TOOL: {"filtering_threshold": threshold, "contrast_threshold": contrast}},
            "scoring": scoring,
        }
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions(str(SHARDS.name), [SHARD])
            result = dg.materialize(
                [filtered_calls],
                partition_key=SHARD,
                instance=instance,
                resources={
                    "settings": SettingsResource(overrides=overrides),
                    "warehouse": WarehouseResource(),
                    "toolbox": ToolboxResource(tools=[TOOL]),
                    "language_model": LanguageModelResource(),
                },
            )
        (event,) = result.get_asset_materialization_events()
        return {name: each.value for name, each in event.materialization.metadata.items()}

    def rows(self, table: str = "filtered_calls") -> pl.DataFrame:
        return self.warehouse.read_slice(table, SHARD, TOOL)

    def metadata(self, table: str = "filtered_calls") -> dict[str, str]:
        return self.warehouse.slice_metadata(table, SHARD, TOOL) or {}

    def costs(self) -> dict[str, dict[str, Any]]:
        rows = self.warehouse.read_slices("stage_costs", SHARD)
        return {row["stage"]: row for row in rows.iter_rows(named=True)}

    def calibrations(self) -> list[dict[str, Any]]:
        return [json.loads(each.read_text()) for each in self.home.calibration.glob("*.json")]


@pytest.fixture(scope="module")
def model_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model = tiny_model()
    model.model.save_pretrained(folder)
    model.tokenizer.backend.save_pretrained(folder)
    return folder


@pytest.fixture
def home(tmp_path: Path, model_directory: Path, monkeypatch: pytest.MonkeyPatch) -> ScoredHome:
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    made = ScoredHome(Home(tmp_path).root)
    with made.home.settings_file.open("w") as file:
        YAML().dump(
            {
                "language_model": {"path": str(model_directory), "device": "cpu"},
                "corpus": {"window_tokens": 64},
                "scoring": {"calibration_calls": 20},
            },
            file,
        )
    made.warehouse.prepare()
    save_manifest(made.home.sources)
    rows = {
        "documents": [{"text": TEXT}],
        "candidate_calls": [
            {"call_id": call_id, "position": position, "arguments": arguments}
            for call_id, (position, arguments, _) in CALLS.items()
        ],
        "executed_calls": [
            {"call_id": call_id, "result": result} for call_id, (_, _, result) in CALLS.items()
        ],
    }
    for table, of_table in rows.items():
        made.warehouse.replace_slice(
            table,
            SHARD,
            "all" if table == "documents" else TOOL,
            frame(table, *of_table),
            metadata={FINGERPRINT: "x"},
        )
    return made


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_settings: object) -> None:
        pytest.fail("a model was loaded")

    monkeypatch.setattr(LanguageModel, "load", refuse)


def exact_losses(
    folder: Path, results: Mapping[str, str], form: LossForm = PAPERS_FORM
) -> dict[str, CallLosses]:
    """What float32 gives for these results, nothing left out."""
    model = tiny_model()
    windows = list(split_into_windows("d1", TEXT, model.tokenizer, window_tokens=64))
    return score_calls(
        model,
        {("d1", window.index): window for window in windows},
        TextLosses(model, windows, token_budget=1024),
        [
            ScoredCall(
                call_id, ("d1", 0), *CALLS[call_id][:1], ToolCall(TOOL, CALLS[call_id][1]), r
            )
            for call_id, r in results.items()
        ],
        call_format=CallFormat(),
        pruning_threshold=0.0,
        full_losses=True,
        token_budget=1024,
        checkpoint=Checkpoint(folder, fingerprint="x"),
        progress=lambda *_: None,
        form=form,
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


def test_calls_within_the_band_are_decided_in_float32_and_the_slice_says_so(
    home: ScoredHome, tmp_path: Path
):
    reported = home.run(0.0)
    rows, (calibration,) = home.rows(), home.calibrations()
    again = rows.filter(pl.col("precision") == "float32")
    rest = rows.filter(pl.col("precision") == "bfloat16")
    assert 0 < again.height < rows.height == len(CALLS)
    assert again.height + rest.height == rows.height
    assert (rest["loss_reduction"].abs() > calibration["band"]).all()
    assert kept(rows) == kept_in_float32(tmp_path / "exact", 0.0)
    exact = exact_losses(tmp_path / "again", {key: CALLS[key][2] for key in again["call_id"]})
    for row in again.iter_rows(named=True):
        assert row["loss_with_result"] == pytest.approx(
            exact[row["call_id"]].loss_with_result, abs=1e-4
        )
    stored = json.loads(home.metadata()["rescoring"])
    assert stored["band"] == calibration["band"]
    assert stored["thresholds"] == [0.0]
    assert stored["rescored"] == reported["decided in float32"] == again.height
    assert reported["safety band (nats)"] == calibration["band"]
    assert 0.8 < reported["coverage of the band"] <= 1
    assert reported["calibration calls"] == calibration["calls"] == 20
    costs = home.costs()
    assert set(costs) == {"scoring", "rescoring", "calibration", "chance_level"}
    assert costs["rescoring"]["candidates"] == again.height
    assert {name: costs[name]["precision"] for name in ("scoring", "rescoring")} == {
        "scoring": "bfloat16",
        "rescoring": "float32",
    }
    assert all(each["tokens_fed"] > 0 for each in costs.values())
    assert not list(home.home.checkpoints.rglob("*.json"))


def test_a_second_run_and_a_far_threshold_load_no_model(
    home: ScoredHome, request: pytest.FixtureRequest
):
    home.run(1.0)
    before = home.rows()
    request.getfixturevalue("no_model")
    assert "up to date" in home.run(1.0)["slices"]
    home.run(50.0)
    assert home.rows()["loss_with_result"].equals(before["loss_with_result"])
    assert not home.rows()["is_kept"].any()


def test_another_threshold_scores_only_the_newly_uncertain_calls_again(
    home: ScoredHome, tmp_path: Path
):
    home.run(0.5)
    before = home.rows()
    scored = home.costs()["scoring"]
    chance = home.metadata("chance_calls")
    threshold = (
        float(
            before.filter(pl.col("reason") != "bound_below_pruning_threshold")
            .filter(pl.col("precision") == "bfloat16")["loss_reduction"]
            .max()
        )
        - 0.001
    )
    assert threshold > 0.5
    home.run(threshold)
    after = home.rows()
    assert home.costs()["scoring"] == scored
    assert home.metadata("chance_calls") == chance
    changed = before.join(after, on="call_id", suffix="_after").filter(
        pl.col("precision") != pl.col("precision_after")
    )
    assert changed.height == home.costs()["rescoring"]["candidates"] > 0
    band = home.calibrations()[0]["band"]
    assert ((changed["loss_reduction"] - threshold).abs() <= band).all()
    # What float32 had decided already stays its.
    was_exact = set(before.filter(pl.col("precision") == "float32")["call_id"])
    assert was_exact <= set(after.filter(pl.col("precision") == "float32")["call_id"])
    assert kept(after) == kept_in_float32(tmp_path / "exact", threshold)


def test_the_sweeps_thresholds_have_a_band_when_asked_for(home: ScoredHome):
    home.run(50.0, rescore_sweep=True)
    rows, band = home.rows(), home.calibrations()[0]["band"]
    assert json.loads(home.metadata()["rescoring"])["thresholds"] == [0.5, 1.0, 2.0, 50.0]
    rough = rows.filter(
        (pl.col("precision") == "bfloat16") & pl.col("loss_call_without_result").is_not_null()
    )
    assert "float32" in set(rows["precision"])
    for threshold in (0.5, 1.0, 2.0):
        assert ((rough["loss_reduction"] - threshold).abs() > band).all()


@pytest.mark.parametrize("changes", [{"precision": "float32"}, {"rescoring": False}])
def test_one_precision_decides_alone_where_that_is_asked_for(home: ScoredHome, changes: dict):
    reported = home.run(0.0, **changes)
    assert set(home.rows()["precision"]) == {changes.get("precision", "bfloat16")}
    assert home.calibrations() == []
    assert "rescoring" not in home.metadata()
    assert "rescoring" not in home.costs()
    assert "safety band (nats)" not in reported


def choose(home: ScoredHome, model_directory: Path, precision: str) -> None:
    """Record what `precision: auto` was measured to be."""
    choice = PrecisionChoice(precision, 100.0, 200.0)
    settled_precision(ANNOTATION, model_directory, "cpu", home.home, lambda: choice, is_anew=True)


def test_another_choice_of_auto_makes_nothing_stale_and_goes_on_with_what_is_stored(
    home: ScoredHome, model_directory: Path
):
    choose(home, model_directory, "bfloat16")
    home.run(0.0, precision="auto")
    before = home.rows()
    assert set(before["precision"]) == {"bfloat16", "float32"}
    cost = home.costs()["scoring"]
    figures = [cost[f"{name}_tokens_per_second"] for name in ("float32", "bfloat16")]
    assert (cost["precision"], figures) == ("bfloat16", [100.0, 200.0])
    assert home.costs()["rescoring"]["float32_tokens_per_second"] is None

    choose(home, model_directory, "float32")
    reported = home.run(0.0, precision="auto")
    assert "up to date" in reported["slices"]
    assert home.rows().equals(before)

    # The band is that of bfloat16, and so are the foreign losses of calls that are.
    for file in home.home.calibration.glob("*.json"):
        file.unlink()
    home.run(0.5, precision="auto", contrast=0.1)
    (calibration,) = home.calibrations()
    assert calibration["sigma"] > 0
    both = before.join(home.rows(), on="call_id", suffix="_after")
    same = both.filter(pl.col("precision") == pl.col("precision_after"))
    assert "bfloat16" in set(same["precision"])
    assert same["loss_with_result"].equals(same["loss_with_result_after"], check_names=False)
    assert home.costs()["contrast"]["precision"] == "bfloat16"
    assert home.costs()["scoring"] == cost


def test_losses_of_float32_need_no_band_where_bfloat16_is_chosen_later(
    home: ScoredHome, model_directory: Path, request: pytest.FixtureRequest
):
    choose(home, model_directory, "float32")
    home.run(0.0, precision="auto")
    assert home.calibrations() == []
    assert set(home.rows()["precision"]) == {"float32"}
    choose(home, model_directory, "bfloat16")
    request.getfixturevalue("no_model")
    home.run(0.5, precision="auto")
    assert set(home.rows()["filtering_threshold"]) == {0.5}
    assert set(home.rows()["precision"]) == {"float32"}


def test_a_calibration_is_measured_once_and_again_for_other_settings(home: ScoredHome):
    home.run(0.0)
    (first,) = home.calibrations()
    home.run(0.0, full_losses=True)
    assert home.calibrations() == [first]
    home.run(0.0, calibration_calls=30)
    (other,) = home.calibrations()
    assert (first["calls"], other["calls"]) == (20, 30)


def test_each_kind_of_device_keeps_its_calibration(
    home: ScoredHome, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    home.run(0.0)
    monkeypatch.setattr("assets.calibration.resolve_device", lambda device: "cuda:1")
    home.run(0.25)
    assert len(home.calibrations()) == 2
    request.getfixturevalue("no_model")
    monkeypatch.undo()
    monkeypatch.setenv("TOOLFORMER_HOME", str(home.home.root))
    home.run(50.0)
    assert len(home.calibrations()) == 2


def test_a_calibration_that_was_altered_is_measured_again(
    home: ScoredHome, capfd: pytest.CaptureFixture[str]
):
    home.run(0.0)
    (file,) = home.home.calibration.glob("*.json")
    measured = file.read_bytes()
    unsealed = {name: each for name, each in json.loads(measured).items() if name != "digest"}
    for threshold, altered in enumerate(
        (
            measured.replace(b'"band": ', b'"band": 9'),
            measured.replace(b'"sigma"', b'"\xff"'),
            # As earlier releases wrote it.
            json.dumps(unsealed).encode(),
        ),
        start=1,
    ):
        file.write_bytes(altered)
        home.run(float(threshold))
        assert file.read_bytes() == measured
        assert f"{file} was measured with other settings, or altered" in capfd.readouterr().err


def foreign_losses(folder: Path, rows: pl.DataFrame) -> dict[str, float]:
    """What float32 gives for the foreign results that rows name."""
    named = rows.filter(pl.col("foreign_call_id").is_not_null())
    results = {
        call_id: CALLS[other][2]
        for call_id, other in named.select("call_id", "foreign_call_id").iter_rows()
    }
    exact = exact_losses(folder, results)
    return {call_id: of_call.loss_with_result for call_id, of_call in exact.items()}


def test_kept_calls_are_scored_with_a_foreign_result_and_decided_as_in_float32(
    home: ScoredHome, tmp_path: Path
):
    home.run(0.0)
    without, scored = home.rows(), home.costs()["scoring"]
    assert without["loss_with_foreign_result"].null_count() == len(CALLS)
    threshold = 0.3
    reported = home.run(0.0, contrast=threshold)
    rows, (calibration,) = home.rows(), home.calibrations()
    # Only what the contrast needs is computed.
    assert home.costs()["scoring"] == scored
    asked = rows.filter(pl.col("loss_with_foreign_result").is_not_null())
    assert set(asked["call_id"]) == kept(without)
    foreign = foreign_losses(tmp_path / "foreign", rows)
    own = exact_losses(tmp_path / "own", {key: CALLS[key][2] for key in asked["call_id"]})
    expected = set()
    for row in asked.iter_rows(named=True):
        call_id = row["call_id"]
        assert CALLS[row["foreign_call_id"]][2] != CALLS[call_id][2]
        exact = foreign[call_id] - own[call_id].loss_with_result
        contrast = row["loss_with_foreign_result"] - row["loss_with_result"]
        if exact >= threshold:
            expected.add(call_id)
        if row["precision"] == "float32":
            assert contrast == pytest.approx(exact, abs=1e-4)
        else:
            assert abs(contrast - threshold) > calibration["band"]
    assert 0 < len(expected) < asked.height
    assert kept(rows) == expected
    assert set(rows.filter(~pl.col("is_kept"))["reason"]) >= {"below_contrast"}
    assert reported["dropped: below_contrast"] == asked.height - len(expected)
    near = rows.join(without, on="call_id").filter(pl.col("precision") != pl.col("precision_right"))
    assert near.height > 0
    cost = home.costs()["contrast"]
    assert (cost["candidates"], cost["precision"]) == (asked.height, "bfloat16")
    assert cost["tokens_fed"] > 0
    assert home.warehouse.ask("wrong_decisions").is_empty()
    assert not list(home.home.checkpoints.rglob("*.json"))


def test_other_contrast_thresholds_decide_from_what_is_stored(
    home: ScoredHome, request: pytest.FixtureRequest
):
    home.run(0.0, precision="float32", contrast=0.2)
    before = home.rows()
    request.getfixturevalue("no_model")
    for threshold in (0.0, 0.6, 50.0):
        home.run(0.0, precision="float32", contrast=threshold)
        after = home.rows()
        contrasts = after["loss_with_foreign_result"] - after["loss_with_result"]
        wanted = after.filter((contrasts >= threshold).fill_null(value=False))
        assert kept(after) == set(wanted["call_id"])
        assert after["loss_with_foreign_result"].equals(before["loss_with_foreign_result"])
    home.run(0.0, precision="float32")
    assert kept(home.rows()) == set(before.filter(pl.col("loss_reduction") >= 0)["call_id"])


def test_a_tool_that_always_says_the_same_keeps_no_call_with_a_contrast(home: ScoredHome):
    home.warehouse.replace_slice(
        "executed_calls",
        SHARD,
        TOOL,
        frame("executed_calls", *({"call_id": call_id, "result": "24"} for call_id in CALLS)),
        metadata={FINGERPRINT: "same"},
    )
    home.run(0.0, precision="float32", contrast=0.1)
    rows = home.rows()
    assert rows["foreign_call_id"].null_count() == rows.height
    reasons = set(rows.filter(pl.col("loss_reduction") >= 0)["reason"])
    assert reasons <= {"no_foreign_result", "bound_below_pruning_threshold"}
    assert "no_foreign_result" in reasons
    assert "contrast" not in home.costs()


INLINE: dict[str, Any] = {"placement": "inline", "window_tokens": 12, "window_weights": "uniform"}
INLINE_FORM = LossForm(Placement.INLINE, window_weights(12, are_linear=False))


def test_calls_at_their_places_are_decided_as_in_float32(home: ScoredHome, tmp_path: Path):
    baseline = Baseline.WITHOUT_CALL
    home.run(0.0, contrast=0.1, baseline=baseline.value, **INLINE)
    rows, costs = home.rows(), home.costs()
    own = exact_losses(tmp_path / "own", {key: CALLS[key][2] for key in CALLS}, INLINE_FORM)
    others = dict(
        rows.filter(pl.col("foreign_call_id").is_not_null())
        .select("call_id", "foreign_call_id")
        .iter_rows()
    )
    results = {call_id: CALLS[other][2] for call_id, other in others.items()}
    foreign = exact_losses(tmp_path / "foreign", results, INLINE_FORM)
    expected = {
        call_id
        for call_id in others
        if decide(own[call_id], filtering_threshold=0.0, baseline=baseline).is_kept
        and foreign[call_id].loss_with_result - own[call_id].loss_with_result >= 0.1
    }
    assert 0 < len(expected) < len(CALLS)
    assert kept(rows) == expected
    assert set(rows["baseline"]) == {"without_call"}
    for row in rows.filter(pl.col("precision") == "float32").iter_rows(named=True):
        exact = own[row["call_id"]]
        assert row["loss_without_call"] == pytest.approx(exact.loss_without_call, abs=1e-4)
        assert row["loss_with_result"] == pytest.approx(exact.loss_with_result, abs=1e-4)
    assert home.warehouse.ask("wrong_decisions").is_empty()
    assert home.rows("chance_calls").height == 10
    assert set(costs) == {"scoring", "rescoring", "contrast", "calibration", "chance_level"}


def test_the_smaller_baseline_needs_losses_that_the_other_left_out(
    home: ScoredHome, request: pytest.FixtureRequest
):
    # The chance sample is made anew for another baseline.
    options = {**INLINE, "chance_calls": 0}
    home.run(0.0, precision="float32", baseline="without_call", **options)
    before = home.rows()
    assert before["loss_call_without_result"].null_count() == len(CALLS)
    home.run(0.0, precision="float32", **options)
    after = home.rows()
    assert after["loss_call_without_result"].null_count() < len(CALLS)
    assert kept(after) < kept(before)
    # The other way all is there.
    request.getfixturevalue("no_model")
    home.run(0.0, precision="float32", baseline="without_call", **options)
    assert kept(home.rows()) == kept(before)


def test_the_chance_sample_is_scored_with_results_of_other_calls(home: ScoredHome, tmp_path: Path):
    reported = home.run(1.0, precision="float32")
    rows = home.rows("chance_calls")
    assert rows.height == 10
    assert f"| {TOOL}, chance level | done |" in reported["slices"]
    exact = exact_losses(tmp_path / "exact", dict(rows.select("call_id", "result").iter_rows()))
    for row in rows.iter_rows(named=True):
        assert row["result"] == CALLS[row["other_call_id"]][2] != CALLS[row["call_id"]][2]
        decision = decide(exact[row["call_id"]], filtering_threshold=0.5)
        if row["reason"] == "scored":
            assert row["loss_reduction"] == pytest.approx(decision.loss_reduction, abs=1e-4)
        else:
            assert row["reason"] == "bound_below_pruning_threshold"
            assert (decision.loss_reduction or 0) <= row["loss_reduction"] + 1e-4 < 1e-3
    sweep = home.warehouse.query("select * from threshold_sweep where filtering_threshold = 0.5")
    (row,) = sweep.iter_rows(named=True)
    by_chance = [decide(of_call, filtering_threshold=0.5).is_kept for of_call in exact.values()]
    assert row["chance_calls"] == 10
    assert row["chance_share"] == pytest.approx(sum(by_chance) / 10)
    assert row["scored_calls"] == len(CALLS)


def test_the_chance_sample_is_scored_with_a_second_result_where_the_first_helps(
    home: ScoredHome, tmp_path: Path
):
    home.run(0.0, precision="float32")
    rows = home.rows("chance_calls")
    compared = rows.filter((pl.col("reason") == "scored") & (pl.col("loss_reduction") >= 0))
    assert compared.height > 0
    results = {
        row["call_id"]: CALLS[row["second_call_id"]][2] for row in rows.iter_rows(named=True)
    }
    exact = exact_losses(tmp_path / "second", results)
    for row in rows.iter_rows(named=True):
        own, second = CALLS[row["call_id"]][2], results[row["call_id"]]
        assert len({own, row["result"], second}) == 3
        if row["call_id"] in set(compared["call_id"]):
            expected = exact[row["call_id"]].loss_with_result
            assert row["loss_with_second_result"] == pytest.approx(expected, abs=1e-4)
        else:
            assert row["loss_with_second_result"] is None


def test_no_chance_sample_is_made_where_none_is_asked_for(home: ScoredHome):
    reported = home.run(1.0, precision="float32", chance_calls=0)
    assert "chance level" not in reported["slices"]
    assert home.warehouse.slices("chance_calls", SHARD) == []
