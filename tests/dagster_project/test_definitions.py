"""What Dagster is told: the graph, its jobs, and what loading it costs."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

import tools
from assets.corpus import corpus_manifest
from assets.pipeline import PIPELINE
from dagster_project.definitions import definitions
from dagster_project.partitions import SHARDS
from tests.conftest import REPOSITORY
from toolformer.sources.manifest import shard_key

# Update after an intended change of the graph:
#   TOOLFORMER_UPDATE_GRAPH=1 pytest tests/dagster_project/test_definitions.py
GRAPH_FILE = Path(__file__).with_name("graph.json")
UPDATE = "TOOLFORMER_UPDATE_GRAPH"

HEAVY = ("torch", "transformers", "pyserini", "jnius", "faiss", "duckdb", "matplotlib", "gensim")
JOBS = {
    "prepare": {"corpus_manifest", "wikipedia_index", "passage_index"},
    "build_dataset": set(PIPELINE.names),
    "train": {"training_set", "finetuned_model", "min_call_probability", "call_statistics"},
    "evaluate": {"evaluation_results", "evaluation_report", "report"},
    "study_call_top_k": {"call_top_k_study"},
    "study_tools": {"tool_study"},
    "study_model_sizes": {"model_size_study"},
}


def asset_definitions() -> list[dg.AssetsDefinition]:
    return [each for each in definitions().assets or () if isinstance(each, dg.AssetsDefinition)]


def specs() -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in definitions().resolve_all_asset_specs()}


def graph() -> dict[str, Any]:
    """The graph as it is compared: nothing in it depends on the machine."""
    return {
        name: {
            "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
            "group": spec.group_name,
            "kinds": sorted(spec.kinds),
            "code_version": spec.code_version,
            "partitions": partitions(spec.partitions_def),
        }
        for name, spec in sorted(specs().items())
    }


def partitions(definition: dg.PartitionsDefinition | None) -> str | list[str] | None:
    """Of shards their name, of variants the keys, of several dimensions their names."""
    if isinstance(definition, dg.DynamicPartitionsDefinition):
        return definition.name
    if isinstance(definition, dg.MultiPartitionsDefinition):
        return list(definition.partition_dimension_names)
    return list(definition.get_partition_keys()) if definition else None


def test_definitions_validate():
    dg.Definitions.validate_loadable(definitions())


def test_the_graph_is_the_stored_one():
    if os.environ.get(UPDATE):
        GRAPH_FILE.write_text(json.dumps(graph(), indent=2) + "\n")
    assert graph() == json.loads(GRAPH_FILE.read_text()), f"set {UPDATE}=1 to store a new graph"


def test_every_asset_has_group_kinds_code_version_and_description():
    for name, spec in specs().items():
        assert spec.group_name in {*JOBS, "studies"}, name
        assert len(spec.kinds) == 2, name
        assert spec.code_version, name
        assert spec.description, name
        assert spec.description.split("\n")[0].endswith("."), name


def test_every_asset_says_that_it_returns_a_materialize_result():
    for definition in asset_definitions():
        function = definition.op.compute_fn.decorated_fn  # pyright: ignore
        assert function.__annotations__["return"] is dg.MaterializeResult, definition.key


def test_the_three_jobs_have_their_assets():
    for name, assets in JOBS.items():
        job = definitions().resolve_job_def(name)
        nodes = job.asset_layer.executable_asset_keys
        assert {key.to_user_string() for key in nodes} == assets
    # Nothing runs it: `corpus_manifest` stores the texts.
    assert set().union(*JOBS.values()) == set(specs()) - {"documents"}


def test_no_job_mixes_assets_of_shards_with_others():
    for assets in JOBS.values():
        assert len({specs()[name].partitions_def == SHARDS for name in assets}) == 1


def test_a_run_takes_many_shards_of_a_backfill():
    for definition in asset_definitions():
        if definition.partitions_def == SHARDS:
            assert definition.backfill_policy is not None
            assert (definition.backfill_policy.max_partitions_per_run or 0) > 1, definition.key


def test_runs_take_one_process():
    assert definitions().executor is dg.in_process_executor


def test_partition_keys_are_safe():
    for number in (0, 7, 99_999, 100_000):
        assert re.fullmatch("[a-z0-9-]+", shard_key(number))


def test_the_manifest_is_not_partitioned():
    assert corpus_manifest.partitions_def is None


def test_loading_the_code_location_imports_nothing_heavy():
    code = (
        "import sys, dagster_project.definitions; "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_line_imports_nothing_heavy_for_its_help():
    code = (
        "import sys, dagster_project.cli; "
        f"print([name for name in ('dagster', 'polars', *{HEAVY!r}) if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_workspace_yaml_is_what_dagster_loads():
    (entry,) = yaml.safe_load((REPOSITORY / "workspace.yaml").read_text())["load_from"]
    assert entry["python_module"]["module_name"] == "dagster_project.definitions"
    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    # Either table would make `dagster dev` ignore workspace.yaml.
    assert not {"dagster", "dg"} & set(pyproject["tool"])
    assert not (REPOSITORY / "dg.toml").exists()


@pytest.mark.slow
def test_dagster_finds_the_definitions_without_being_told_where(tmp_path: Path):
    done = subprocess.run(
        [Path(sys.executable).with_name("dagster"), "definitions", "validate"],
        cwd=REPOSITORY,
        env={**os.environ, "DAGSTER_HOME": str(tmp_path), "TOOLFORMER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "toolformer" in done.stderr + done.stdout


def test_our_tools_are_not_another_distributions():
    assert tools.__file__ is not None
    assert Path(tools.__file__).resolve().is_relative_to(REPOSITORY)


def test_every_resource_refuses_misspelt_configuration():
    for name, resource in (definitions().resources or {}).items():
        with pytest.raises(dg.DagsterInvalidConfigError, match="surely_misspelt"):
            dg.materialize(
                [_uses(name)],
                resources={name: resource},
                run_config={"resources": {name: {"config": {"surely_misspelt": 1}}}},
            )


def _uses(resource: str) -> dg.AssetsDefinition:
    @dg.asset(required_resource_keys={resource})
    def anything() -> None: ...

    return anything
