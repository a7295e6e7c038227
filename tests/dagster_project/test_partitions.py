"""Which partitions are there: those that somebody wants, apart from those of others."""

import shutil
import sqlite3

import dagster as dg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from dagster_project.definitions import definitions
from dagster_project.runs.run_job import dagster_instance
from tests.corpora import write_texts
from tests.warehouse.rows import save_manifest
from toolformer.home.home import Home
from toolformer.home.partitions import (
    BENCHMARKS,
    EVALUATIONS,
    MODEL_VARIANTS,
    MODELS,
    SHARDS,
    SHARDS_OF_TEXTS,
    are_shards_registered,
    register,
    register_evaluations,
    register_shards,
)
from toolformer.settings.evaluation_sections import EMBEDDED_BENCHMARKS, EvaluationSettings
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
        assert set(instance.get_dynamic_partitions(BENCHMARKS.name)) == {
            *EMBEDDED_BENCHMARKS,
            "asdiv",
        }
        assert set(instance.get_dynamic_partitions(MODELS.name)) == {"base", "finetuned", "mine"}
        assert instance.get_dynamic_partitions(MODEL_VARIANTS.name) == ["calls"]
        register(instance, MODEL_VARIANTS, ["plain"])
        register(instance, MODELS, ["plain"])
        register(instance, BENCHMARKS, ["svamp"])
        # A second time, as with the next command.
        register(instance, BENCHMARKS, ["svamp"])
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
        for definition in (SHARDS, SHARDS_OF_TEXTS):
            assert set(instance.get_dynamic_partitions(definition.name)) == keys


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
            assert instance.get_dynamic_partitions(SHARDS.name) == keys
    finally:
        event.remove(Engine, "connect", limit)


def cut(instance: dg.DagsterInstance, home: Home, monkeypatch, *, texts: int) -> list[str]:
    """Cut new texts as the UI does, a shard each; returns the warnings of the run."""
    monkeypatch.setenv("TOOLFORMER_HOME", str(home.root))
    home.root.mkdir(parents=True, exist_ok=True)
    home.settings_file.write_text("corpus: {shard_size: 1, held_out_every: 0}")
    number = len(list(home.root.glob("*.jsonl")))
    file = write_texts(
        home.root / f"{number}.jsonl", [f"Text {n} of {number}." for n in range(texts)]
    )
    config = {"ops": {"corpus_manifest": {"config": {"new_sources": [str(file)]}}}}
    result = (
        definitions()
        .resolve_job_def("prepare")
        .execute_in_process(
            instance=instance, run_config=config, asset_selection=[dg.AssetKey("corpus_manifest")]
        )
    )
    assert result.success
    return [log.user_message for log in instance.all_logs(result.run_id) if log.level == 30]


@pytest.mark.slow
def test_homes_and_other_projects_in_an_instance_keep_their_partitions(tmp_path, monkeypatch):
    one, copy, moved = (Home(tmp_path / name) for name in ("one", "copy", "moved"))

    def names(home: Home) -> list[str]:
        monkeypatch.setenv("TOOLFORMER_HOME", str(home.root))
        return list(instance.get_dynamic_partitions(SHARDS.name))

    with dg.DagsterInstance.ephemeral() as instance:
        of_others = {"shard": ["eu-1", "shard-00000"], "model": ["gpt"]}
        for name, keys in of_others.items():
            instance.add_dynamic_partitions(name, keys)
        assert cut(instance, one, monkeypatch, texts=3) == []
        first = names(one)
        assert len(first) == 3
        shutil.copytree(one.root, copy.root)
        (warning,) = cut(instance, copy, monkeypatch, texts=1)
        assert f"also has shards of another home: {one.root}." in warning
        assert (len(names(copy)), names(one)) == (4, first)
        link = tmp_path / "link"
        link.symlink_to(one.root)
        assert names(Home(link)) == first
        # Its sources are where they were, so its shards stay.
        one.root.rename(moved.root)
        cut(instance, moved, monkeypatch, texts=1)
        assert names(moved)[:3] == first
        assert (len(names(moved)), len(names(copy))) == (4, 4)
        assert {name: instance.get_dynamic_partitions(name) for name in of_others} == of_others


@pytest.mark.slow
def test_a_command_in_a_copied_home_finds_its_shards_not_registered(
    home: Home, tmp_path, monkeypatch
):
    manifest = Manifest(shards=save_manifest(home.sources))
    with dagster_instance(home) as instance:
        register_shards(instance, manifest)
    copy = Home(tmp_path / "copy")
    shutil.copytree(home.root, copy.root)
    monkeypatch.setenv("TOOLFORMER_HOME", str(copy.root))
    with dagster_instance(copy) as instance:
        # Not those of the original, which the copied instance has too.
        assert not are_shards_registered(instance, manifest)
        register_shards(instance, manifest)
        assert are_shards_registered(instance, manifest)
