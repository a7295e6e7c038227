"""Whether what a model is measured by was kept out of its training."""

import json
from pathlib import Path

import pytest

from assets.evaluation.contamination import contamination_warning
from assets.training.benchmark_texts import benchmark_texts
from assets.training.finetuned_model import training_run_name
from assets.training.training_inputs import TrainingInputs
from tests.warehouse.rows import new_warehouse, put
from toolformer.base.model_files import RECORD_FILE
from toolformer.home.fingerprints import Fingerprint
from toolformer.home.home import Home
from toolformer.home.wiring.models import EvaluatedModel
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.sections import validated
from toolformer.sources.manifest import Manifest, ShardEntry
from warehouse.warehouse import Warehouse

HELD_OUT = "shard-00007"
ALL_THREE = ("perplexity", "sums", "mine")


@pytest.fixture
def store(home: Home) -> Warehouse:
    store = new_warehouse(home.root)
    entry = ShardEntry(HELD_OUT, "texts.jsonl", 0, 1, "digest", is_held_out=True)
    Manifest(next_number=8, shards=[entry]).save(home.sources)
    put(store, "documents", {"shard": HELD_OUT}, shard=HELD_OUT, fingerprint="of the texts")
    return store


@pytest.fixture
def trained(home: Home, store: Warehouse, tmp_path: Path):
    """A model that was trained on what left out the benchmark of a file as it is now."""
    file = tmp_path / "mine.jsonl"
    file.write_text('{"id": "1", "question": "Who?", "answers": "Me"}\n')
    questions = {"mine": {"path": str(file), "prompt": "{question}"}}
    settings = validated({"evaluation": {"questions": questions}}, origin="test")
    work = Workspace(settings, home)
    made = TrainingInputs.load(work, benchmark_texts(settings)).expected(work).fingerprint
    put(store, "training_texts", {}, **made.metadata())
    model = Fingerprint.of({"training_set": made.digest})
    curve = training_run_name(model.digest)
    put(store, "training_metrics", {"run": curve}, name=curve, **model.metadata())
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / RECORD_FILE).write_text(json.dumps({"fingerprint": model.digest}))
    return work, EvaluatedModel(directory, name="finetuned", is_finetuned=True), file


def test_what_was_left_out_of_the_training_set_is_not_doubted(trained):
    work, model, _ = trained
    assert contamination_warning(work, model, ("perplexity", "mine")) is None


def test_a_benchmark_that_is_new_or_changed_and_new_held_out_texts_are_doubted(
    trained, store: Warehouse
):
    work, model, file = trained
    assert " sums:" in str(contamination_warning(work, model, ("perplexity", "sums", "mine")))
    file.write_text('{"id": "1", "question": "Where?", "answers": "Here"}\n')
    assert " sums, mine:" in str(contamination_warning(work, model, ALL_THREE))
    put(store, "documents", {"shard": HELD_OUT}, shard=HELD_OUT, fingerprint="of others")
    assert " perplexity, sums, mine:" in str(contamination_warning(work, model, ALL_THREE))


def test_of_a_training_set_that_was_replaced_nothing_is_known(trained, store: Warehouse):
    work, model, _ = trained
    put(store, "training_texts", {}, **Fingerprint.of({"other": 1}).metadata())
    assert "cannot be checked" in str(contamination_warning(work, model, ALL_THREE))
