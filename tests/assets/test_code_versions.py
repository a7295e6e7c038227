"""What a run with settings of its own records as its code version."""

import json
from typing import Any

import dagster as dg
import pytest

from dagster_project.definitions import definitions
from tests.materialising import materialise
from tests.warehouse.rows import SHARD, new_warehouse, save_manifest

FILE = "preset: small\nrounds:\n- sampling: {proposals: calls}\n- {}\n"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    (tmp_path / "toolformer.yaml").write_text(FILE, encoding="utf-8")
    save_manifest(tmp_path / "sources", SHARD)
    new_warehouse(tmp_path)


def is_current(
    asset: str, overrides: dict[str, Any], partition: str | None = None, **how: Any
) -> bool:
    """Whether what a run made is not shown as made by other code or settings than the file's."""
    result = materialise(asset, overrides=overrides, partition=partition, **how)
    (event,) = result.get_asset_materialization_events()
    (spec,) = definitions().get_assets_def(asset).specs
    return (event.materialization.tags or {})["dagster/code_version"] == spec.code_version


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, True),
        ({"tools": {"Calculator": {"filtering_threshold": 0.7}}}, False),
        ({"tools": {"Calculator": {"calls_per_position": 7}}}, True),
        # Each round and each variant has outputs of its own.
        ({"sampling": {"round": 2}, "training": {"variant": "plain"}}, True),
        # Only a later round can be chained.
        ({"sampling": {"round": 2, "is_chained": True}}, True),
        (
            {
                "sampling": {"round": 2, "is_chained": True},
                "tools": {"Calculator": {"filtering_threshold": 0.7}},
            },
            False,
        ),
    ],
)
def test_a_shard_that_a_run_with_other_settings_made_is_not_shown_as_current(
    overrides: dict[str, Any], expected: bool
):
    assert is_current("filtered_calls", overrides, SHARD) == expected


@pytest.mark.parametrize("file", ["wikipedia-excerpt", "articles.jsonl"])
def test_nor_is_what_has_no_partitions(file: str, tmp_path, monkeypatch):
    monkeypatch.setattr("assets.search_index.build_index", lambda *_, **__: None)
    article = {"id": "1", "title": "Dairy", "text": "A dairy heats its milk. " * 9}
    (tmp_path / "articles.jsonl").write_text(json.dumps(article), encoding="utf-8")
    overrides = {"wikipedia_index": {"source": file}}
    assert is_current("wikipedia_index", overrides) == (file == "wikipedia-excerpt")


def test_a_round_is_shown_as_made_with_the_settings_that_it_was_made_with(tmp_path):
    def built(number: int) -> bool:
        overrides = {"sampling": {"round": number}}
        return is_current("filtered_calls", overrides, SHARD, instance=instance)

    with dg.DagsterInstance.ephemeral() as instance:
        assert [built(1), built(2)] == [True, True]
        other = "tools: {Calculator: {filtering_threshold: 0.7}}\n"
        (tmp_path / "toolformer.yaml").write_text(f"{FILE}{other}", encoding="utf-8")
        assert [built(2), built(2), built(1)] == [False, False, True]
        # Each has settings of its own.
        other = FILE.replace("- {}", f"- {other}")
        (tmp_path / "toolformer.yaml").write_text(other, encoding="utf-8")
        assert [built(2), built(1), built(2)] == [False, True, True]
