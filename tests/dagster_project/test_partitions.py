"""Which partitions are there: those that somebody wants."""

import sqlite3

import dagster as dg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from dagster_project.runs.run_job import dagster_instance
from tests.warehouse.rows import save_manifest
from toolformer.home.home import Home
from toolformer.home.partitions import (
    BENCHMARK,
    EVALUATIONS,
    MODEL,
    MODEL_VARIANTS,
    SHARD,
    SHARD_OF_TEXTS,
    VARIANT,
    register,
    register_evaluations,
    register_shards,
)
from toolformer.home.settings.evaluation_sections import EMBEDDED_BENCHMARKS, EvaluationSettings
from toolformer.sources.manifest import Manifest


def test_a_benchmark_without_its_file_and_controls_are_no_partitions_until_they_are_wanted(
    tmp_path,
):
    there = tmp_path / "asdiv.json"
    there.write_text("[]")
    settings = EvaluationSettings(  # pyright: ignore[reportCallIssue]
        files={"asdiv": str(there), "svamp": str(tmp_path / "gone.json")},
        benchmarks=("perplexity", "svamp", "triviaqa"),
        models={"mine": str(tmp_path)},
    )
    with dg.DagsterInstance.ephemeral() as instance:
        register_evaluations(instance, settings)
        assert set(instance.get_dynamic_partitions(BENCHMARK)) == {*EMBEDDED_BENCHMARKS, "asdiv"}
        assert set(instance.get_dynamic_partitions(MODEL)) == {"base", "finetuned", "mine"}
        assert instance.get_dynamic_partitions(VARIANT) == ["calls"]
        register(instance, VARIANT, ["plain"])
        register(instance, MODEL, ["plain"])
        register(instance, BENCHMARK, ["svamp"])
        # A second time, as with the next command.
        register(instance, BENCHMARK, ["svamp"])
        keys = EVALUATIONS.get_partition_keys(dynamic_partitions_store=instance)
        assert "svamp|plain" in keys
        assert len(keys) == 6 * 4
        variants = MODEL_VARIANTS.get_partition_keys(dynamic_partitions_store=instance)
        assert variants == ["calls", "plain"]


@pytest.mark.slow
def test_partitions_that_another_process_registers_meanwhile_are_no_error(home: Home, monkeypatch):
    keys = {"shard-00000", "shard-00001"}
    with dagster_instance(home) as instance:
        genuine = type(instance).add_dynamic_partitions

        def beaten(self, name, keys):
            from sqlalchemy.exc import IntegrityError

            monkeypatch.undo()
            genuine(self, name, keys[:1])
            raise IntegrityError("insert", {}, Exception("UNIQUE constraint failed"))

        monkeypatch.setattr(type(instance), "add_dynamic_partitions", beaten)
        register_shards(instance, Manifest(shards=save_manifest(home.sources, *keys)))
        for name in (SHARD, SHARD_OF_TEXTS):
            assert set(instance.get_dynamic_partitions(name)) == keys


@pytest.mark.slow
def test_more_shards_are_registered_than_sqlite_takes_values_in_a_statement(home: Home):
    def limit(connection: sqlite3.Connection, _: object) -> None:
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)

    keys = [f"shard-{number:05d}" for number in range(2000)]
    event.listen(Engine, "connect", limit)
    try:
        with dagster_instance(home) as instance:
            for some in (keys[:10], keys):
                register_shards(instance, Manifest(shards=save_manifest(home.sources, *some)))
            assert instance.get_dynamic_partitions(SHARD) == keys
    finally:
        event.remove(Engine, "connect", limit)
