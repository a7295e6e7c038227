"""A stage between two others is a declaration, what one output is made of, and a function."""

from dataclasses import dataclass

import dagster as dg
import pytest

from assets.code_versions import code_version
from assets.inputs import Expected, stored_input
from assets.outputs import OutputRows, PartitionOutput
from assets.run import Run
from assets.shard_texts import typed_frame
from assets.stage import FingerprintPart, Stage
from assets.stage_asset import asset_of
from dagster_project.definitions import definitions
from dagster_project.runs.run_job import failure_of
from tests.warehouse.rows import new_warehouse, put
from toolformer.home.home import Home
from toolformer.home.resources.settings import SettingsResource
from toolformer.settings.sections import validated
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

TEXT_LENGTHS = Stage(
    name="text_lengths",
    version="3",
    group="train",
    kinds=("polars", "duckdb"),
    reads=("training_set",),
    table="training_metrics",
    settings=("training.max_tokens",),
    parts=(FingerprintPart("training_set", ("training.seed",)),),
)


@dataclass(frozen=True, kw_only=True)
class TextLengths(PartitionOutput):
    """The mean length of the texts that are trained on."""

    def expected(self) -> Expected:
        texts = stored_input(self.run.warehouse, "training_texts", ALL, ALL)
        assert texts is not None
        parts = {"training_set": texts.fingerprint}
        return Expected(TEXT_LENGTHS.fingerprint(self.run.settings, parts), (texts,))

    def compute(self, expected: Expected) -> OutputRows:
        texts = self.run.warehouse.read_partition("training_texts", ALL, ALL)["text"]
        row = {"run": "lengths", "step": 0, "loss": texts.str.len_chars().mean(), "tokens": 0}
        row |= {"learning_rate": 0.0, "variant": "calls", "is_kept": False}
        return OutputRows(typed_frame("training_metrics", [row]))


@asset_of(TEXT_LENGTHS)
def text_lengths(run: Run) -> dg.MaterializeResult:
    """How long the texts are that are trained on; one row = one training."""
    output = TextLengths(run=run, address=("training_metrics", ALL, "lengths"))
    state = output.ensure()
    return dg.MaterializeResult(metadata={"state": state}, data_version=output.data_version())


@pytest.fixture
def home(tmp_path, monkeypatch) -> Warehouse:
    """A training set of one text."""
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    warehouse = new_warehouse(tmp_path)
    put(warehouse, "training_texts", {"text": "abcde", "calls": []}, fingerprint="texts")
    return warehouse


def materialise(**overrides: dict) -> dg.ExecuteInProcessResult:
    settings = SettingsResource(overrides=overrides)
    resources = {**(definitions().resources or {}), "settings": settings}
    return dg.materialize([text_lengths], resources=resources, raise_on_error=False)


def state(result: dg.ExecuteInProcessResult) -> object:
    (event,) = result.get_asset_materialization_events()
    return event.materialization.metadata["state"].value


def test_a_stage_between_the_training_set_and_the_model_is_declared_and_made(home: Warehouse):
    (spec,) = text_lengths.specs
    assert (spec.key.to_user_string(), spec.group_name) == ("text_lengths", "train")
    assert spec.kinds == {"polars", "duckdb"}
    assert [dep.asset_key.to_user_string() for dep in spec.deps] == ["training_set"]
    assert spec.description == "How long the texts are that are trained on; one row = one training."
    assert spec.metadata["dagster/table_name"] == "training_metrics"
    assert state(materialise()) == "done"
    rows = home.read_partition("training_metrics", ALL, "lengths")
    assert rows["loss"].to_list() == [5.0]
    assert state(materialise()) == "up to date"
    assert state(materialise(training={"max_tokens": 77})) == "done"


def test_the_settings_behind_a_part_are_in_the_code_version(tmp_path):
    versions = {
        code_version(
            TEXT_LENGTHS, [validated({"training": changes}, origin="test")], Home(tmp_path)
        )
        for changes in ({}, {"seed": 9}, {"max_tokens": 77}, {"clip_norm": 0.5})
    }
    assert len(versions) == 3


def test_an_edit_while_rows_are_made_does_not_make_them_look_like_its_own(
    home: Warehouse, monkeypatch
):
    edited, compute = Home.find(), TextLengths.compute

    def edit_and_compute(output: TextLengths, expected: Expected) -> OutputRows:
        edited.settings_file.write_text("training: {max_tokens: 77, seed: 9}\n", encoding="utf-8")
        return compute(output, expected)

    monkeypatch.setattr(TextLengths, "compute", edit_and_compute)
    (event,) = materialise(training={"max_tokens": 77}).get_asset_materialization_events()
    made_with = validated({"training": {"max_tokens": 77}}, origin="test")
    assert (event.materialization.tags or {})["dagster/code_version"] == code_version(
        TEXT_LENGTHS, [made_with], edited
    )
    assert home.partition_metadata("training_metrics", ALL, "lengths")


def test_an_expected_error_is_a_failure_that_says_what_to_do(home: Warehouse):
    [info] = home.partitions("training_texts", ALL)
    info.path.write_bytes(b"no Parquet")
    result = materialise()
    assert info.path.name in str(failure_of(result.all_events, result.run_id))


def test_a_part_that_the_declaration_does_not_name_is_refused():
    with pytest.raises(ValueError, match="does not declare the parts"):
        TEXT_LENGTHS.fingerprint(validated({}, origin="test"), {"trainings_set": "texts"})
