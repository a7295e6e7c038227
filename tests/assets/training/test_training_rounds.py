"""Which rounds of annotation are trained on, and where their models are kept."""

import json
from pathlib import Path
from unittest.mock import Mock

import dagster as dg
import polars as pl
import pytest

from assets.training import finetuned_model, finetuning, training_inputs
from assets.training.finetuned_model import is_finetuned
from assets.training.finetuning import FinetunedModel
from tests.materialising import materialise, metadata_of
from tests.warehouse.rows import CALL, SHARD, new_warehouse, put, remove_partition
from toolformer.home.home import Home
from toolformer.home.resources.settings import SettingsResource
from toolformer.home.wiring.workspace import Workspace
from toolformer.training.progress import DevelopmentLoss, Progress, StepReport
from warehouse.layout import name_in_round
from warehouse.warehouse import Warehouse

OTHER_TEXT = "Eight hundred of them came back in the spring, and the harbour was full of boats."


@pytest.fixture
def home(tmp_path, monkeypatch) -> Warehouse:
    """One shard; d1 was annotated in both rounds, d2 in the first alone."""
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    monkeypatch.setattr(training_inputs, "training_and_held_out_shards", lambda _: ([SHARD], []))
    warehouse = new_warehouse(tmp_path)
    first = {"calls": [CALL | {"call_id": "c1"}]}
    put_round(warehouse, 1, first, {"document_id": "d2", "text": OTHER_TEXT} | first)
    put_round(warehouse, 2, {"calls": [CALL | {"call_id": "c2"}], "round": 2})
    return warehouse


def put_round(warehouse: Warehouse, number: int, *rows: dict) -> None:
    name, fingerprint = name_in_round(number, "all"), f"{number} {rows}"
    put(warehouse, "augmented_texts", *rows, name=name, fingerprint=fingerprint)


def train_on(rounds: list[int] | None, *, newest: int = 2) -> dict:
    """Make the training set; its metadata."""
    overrides = {"sampling": {"round": newest}, "training": {"rounds": rounds}}
    return metadata_of(materialise("training_set", overrides=overrides))


def calls(warehouse: Warehouse) -> list[tuple[str, str]]:
    rows = warehouse.read_partitions("training_texts", "all").explode("calls")
    call = pl.col("calls").struct.field("call_id")
    return sorted(rows.select("document_id", call).rows())


def test_the_newest_round_is_trained_on_by_default(home: Warehouse):
    metadata = train_on(None)
    assert metadata["rounds"] == "2"
    assert metadata["shards"] == f"round-2.{SHARD}"
    assert calls(home) == [("d1", "c2")]
    train_on(None, newest=1)
    assert calls(home) == [("d1", "c1"), ("d2", "c1")]


def test_of_several_rounds_a_text_has_the_calls_of_the_newest(home: Warehouse):
    for rounds in ([1, 2], [2, 1]):
        metadata = train_on(rounds)
        assert metadata["rounds"] == "1, 2"
        assert metadata["left out: duplicate_text"] == 1
        (left_out,) = home.read_partitions("training_exclusions", "all").iter_rows(named=True)
        assert (left_out["document_id"], left_out["round"]) == ("d1", 1)
        assert left_out["other_document_id"] == "d1"
        assert calls(home) == [("d1", "c2"), ("d2", "c1")]


def test_the_same_rounds_are_up_to_date_however_they_are_named(home: Warehouse):
    assert train_on(None)["state"] == "done"
    assert train_on([2])["state"] == "up to date"
    put_round(home, 1, {"calls": [CALL | {"call_id": "c9"}]})
    assert train_on([2])["state"] == "up to date"
    assert train_on([1, 2])["state"] == "done"
    put_round(home, 1, {"calls": [CALL | {"call_id": "c8"}]})
    assert train_on([1, 2])["state"] == "done"


def test_a_round_that_was_not_built_is_named(home: Warehouse):
    with pytest.raises(dg.Failure, match=r"no augmented texts of round 3 yet.*sampling.round 3"):
        train_on([1, 3])
    remove_partition(home, "augmented_texts", SHARD, "round-2.all")
    with pytest.raises(dg.Failure, match=r"no augmented texts of round 2 yet.*`toolformer build`"):
        train_on(None)


@pytest.fixture
def trained(home: Warehouse, tmp_path, monkeypatch) -> list[str]:
    """Names of the folders that were trained to, with a training that only writes its record."""
    folders: list[str] = []
    base = tmp_path / "base"
    base.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (base / name).write_text("{}")

    def train(model: FinetunedModel, _work, fingerprint: str) -> Progress:
        directory = model.directory
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "model.safetensors").touch()
        result = {"tokens": 7, "best_step": 1}
        result |= {"base_perplexity": 9.5, "best_perplexity": 9.0}
        record = {"fingerprint": fingerprint, "rows": 2, "facts": {"calls": {}}, "result": result}
        (directory / "toolformer.json").write_text(json.dumps(record))
        folders.append(directory.name)
        step = StepReport(
            step=1,
            loss=2.0,
            learning_rate=1e-5,
            tokens=7,
            development_perplexity=9.0,
            development_loss=2.2,
        )
        return Progress(base=DevelopmentLoss(2.3, 2.2), seconds=1.0, history=[step])

    def write_card(directory: Path, *_) -> None:
        (directory / "README.md").write_text("a card")

    monkeypatch.setattr(FinetunedModel, "_train", train)
    monkeypatch.setattr(finetuned_model, "write_model_card", write_card)
    monkeypatch.setattr(finetuning, "planned_training", lambda _: Mock(summary="2 texts"))
    return folders


def finetune(tmp_path: Path, *, number: int, steps: int = 5, variant: str = "calls") -> dict:
    train_on(None, newest=number)
    overrides = overrides_of(tmp_path, number, steps)
    return metadata_of(materialise("finetuned_model", overrides=overrides, partition=variant))


def overrides_of(tmp_path: Path, number: int, steps: int = 5) -> dict:
    return {
        "language_model": {"path": str(tmp_path / "base"), "device": "cpu"},
        "sampling": {"round": number},
        "training": {"steps": steps, "precision": "float32"},
    }


def test_a_model_is_known_to_be_up_to_date_whichever_training_set_is_stored(
    trained: list[str], home: Warehouse, tmp_path
):
    def are_there(steps: int = 5) -> list[bool]:
        overrides = [overrides_of(tmp_path, number, steps) for number in (1, 2)]
        loaded = [SettingsResource(overrides=each).load() for each in overrides]
        return [is_finetuned(Workspace(each, Home(tmp_path))) for each in loaded]

    assert are_there() == [False, False]
    finetune(tmp_path, number=1)
    finetune(tmp_path, number=2)
    stored = home.partition_version("training_texts", "all", "all")
    assert are_there() == [True, True]
    assert are_there(steps=6) == [False, False]
    put_round(home, 1, {"calls": [CALL | {"call_id": "c9"}]})
    assert are_there() == [False, True]
    assert home.partition_version("training_texts", "all", "all") == stored
    assert trained == ["toolformer", "toolformer-round-2"]


def test_a_model_that_took_anothers_place_is_not_taken_for_it(trained: list[str], tmp_path):
    for steps in (5, 6, 5):
        assert finetune(tmp_path, number=1, steps=steps)["state"] == "done"
    assert finetune(tmp_path, number=1, steps=5)["state"] == "up to date"
