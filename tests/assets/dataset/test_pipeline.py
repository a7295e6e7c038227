"""A stage is declared once: its asset, its fingerprint and its plan follow."""

import dataclasses

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from assets.code_versions import code_version
from assets.dataset import shard_run
from assets.dataset.pipeline import Pipeline
from assets.dataset.shard_asset import shard_assets
from assets.dataset.shard_run import PartitionRun, ShardRun
from assets.dataset.stages import PIPELINE
from assets.outputs import OutputRows
from assets.shard_report import ShardReport, ShardRows
from assets.shard_texts import typed_frame
from assets.stage import (
    PER_SHARD,
    PER_TOOL,
    TOOL_VERSION,
    Partition,
    ShardStage,
    Stage,
    setting_value,
)
from dagster_project.definitions import definitions
from dagster_project.run_tags import RANGE_END_TAG, RANGE_START_TAG
from dagster_project.runs.run_job import failure_of
from tests.assets.setting_effects import STAGES, WITHOUT_EFFECT, setting_paths, stages_of
from tests.warehouse.rows import SHARD, new_warehouse, put, save_manifest
from toolformer.home.home import Home
from toolformer.home.partitions import SHARDS, register
from toolformer.home.resources.settings import SettingsResource
from toolformer.home.resources.toolbox import ToolboxResource
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.settings.sections import validated
from toolformer.sources.manifest import ShardEntry
from toolformer.stage_cost import StageCost
from tools.registry import create_tool
from warehouse.schema import tables
from warehouse.warehouse import Warehouse

TOOL, OTHER = "Calculator", "shard-00009"
ENTRY = ShardEntry(SHARD, "texts", 0, 1, "d" * 32, is_held_out=False)


def count_texts(work: PartitionRun) -> OutputRows:
    """Texts that a tool was shown; one row = one text.

    Of the samples those that the settings let through.
    """
    texts = work.read("candidate_calls")["document_id"].unique()
    rows = [
        {**work.keys, "document_id": text, "is_selected": True, "reason": "toy"} for text in texts
    ]
    return OutputRows(typed_frame("document_selection", rows))


def report(rows: ShardRows, report: ShardReport) -> None:
    report.count({"texts": rows.of("document_selection").height})


TOY = ShardStage(
    name="document_selection",
    version="7",
    kinds=("python", "duckdb"),
    per=PER_TOOL,
    reads=("candidate_calls", "documents"),
    parts=(TOOL_VERSION,),
    settings=("tools.*.positions_per_text", "decoding.max_calls"),
    compute=count_texts,
    report=report,
)
WITH_TOY = Pipeline([*PIPELINE, TOY])


@pytest.fixture
def home(tmp_path, monkeypatch) -> Warehouse:
    """Two shards with samples of one tool."""
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    save_manifest(tmp_path / "sources", SHARD, OTHER)
    warehouse = new_warehouse(tmp_path)
    for shard in (SHARD, OTHER):
        for table in ("documents", "candidate_calls"):
            text = {"document_id": f"text of {shard}"}
            put(warehouse, table, text, shard=shard, fingerprint=table)
    return warehouse


def materialise(pipeline: Pipeline, name: str, **overrides: dict) -> dg.JobExecutionResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return run(instance, pipeline, name, **overrides)


def run(
    instance: dg.DagsterInstance, pipeline: Pipeline, *names: str, **overrides: dict
) -> dg.JobExecutionResult:
    """Stages over both shards, by the executor of all our runs."""
    register(instance, SHARDS, [SHARD, OTHER])
    job = dg.Definitions(
        assets=[*shard_assets(pipeline, shards_per_run=2)],
        resources={
            **(definitions().resources or {}),
            "settings": SettingsResource(overrides=overrides),
            "toolbox": ToolboxResource(tools=[TOOL]),
        },
        executor=definitions().executor,
    ).resolve_implicit_global_asset_job_def()
    started = instance.create_run_for_job(
        job,
        tags={RANGE_START_TAG: SHARD, RANGE_END_TAG: OTHER},
        asset_selection={dg.AssetKey(name) for name in names},
    )
    return execute_run(InMemoryJob(job), started, instance)


def states(result: dg.JobExecutionResult) -> list[str]:
    events = result.get_asset_materialization_events()
    tables = [str(event.materialization.metadata["partitions"].value) for event in events]
    return [table.splitlines()[2] for table in tables]


def partitions(result: dg.JobExecutionResult) -> list[str | None]:
    """The shards that a run reports as made, in the order of its events."""
    return [event.partition for event in result.get_asset_materialization_events()]


def failed_partitions(instance: dg.DagsterInstance, name: str) -> set[str]:
    """The shards that a run was to make and did not, which the UI shows as failed."""
    storage = instance.event_log_storage
    key = dg.AssetKey(name)
    return {
        *storage.get_latest_asset_partition_materialization_attempts_without_materializations(key)
    }


def test_a_toy_stage_has_an_asset(home: Warehouse):
    *_, asset = shard_assets(WITH_TOY, shards_per_run=2)
    (spec,) = asset.specs
    assert spec.key.to_user_string() == TOY.name
    # The texts are behind the samples already.
    assert [dep.asset_key.to_user_string() for dep in spec.deps] == ["candidate_calls"]
    assert code_version(TOY, [], Home.find()).startswith("7-")
    assert spec.partitions_def == SHARDS
    assert (spec.description or "").startswith("Texts that a tool was shown")
    assert "document_id" in str(spec.metadata["dagster/column_schema"])
    result = materialise(WITH_TOY, TOY.name)
    assert result.success
    assert states(result) == [f"| {TOOL} | done |"] * 2
    assert home.read_partition(TOY.name, SHARD, TOOL)["document_id"].to_list() == [
        f"text of {SHARD}"
    ]


def test_a_toy_stage_has_a_fingerprint_whose_parts_are_what_it_declares(home: Warehouse):
    toolbox = Toolbox({TOOL: create_tool(TOOL)}, {TOOL: None}, {})
    partition = Partition(validated({}, origin="test"), ENTRY, toolbox, tool_name=TOOL)
    wanted = WITH_TOY.expected(TOY, partition, home)
    assert set(wanted.fingerprint.parts) == {
        "candidate_calls",
        "code_version",
        "decoding.max_calls",
        "tool_version",
        "tools.Calculator.positions_per_text",
    }
    assert {each.table for each in wanted.inputs} == {"candidate_calls", "documents"}


def test_libraries_are_imported_before_the_threads_of_a_stage_start(home: Warehouse, monkeypatch):
    order: list[str] = []
    monkeypatch.setattr(ShardRun, "_import_transformers", lambda _: order.append("import"))
    monkeypatch.setattr(
        shard_run, "run_tools_concurrently", lambda _: order.append("threads") or {}
    )
    materialise(PIPELINE, "executed_calls")
    assert order == ["import", "threads"] * 2


def merge(work: PartitionRun) -> OutputRows:
    """Texts of all tools; one row = one text."""
    read = "_".join(str(work.read(table).height) for table in MERGING.reads)
    row = {**REJECTED, "shard": work.partition.shard, "reason": f"rows_{read}"}
    return OutputRows(typed_frame("rejected_records", [row]))


REJECTED = {"source": "x", "source_offset": 0, "excerpt": None}
MERGING = ShardStage(
    name="rejected_records",
    version="1",
    kinds=("python", "duckdb"),
    per=PER_SHARD,
    reads=("documents", "candidate_calls", "document_selection"),
    compute=merge,
    report=lambda _rows, _report: None,
)


def test_a_stage_that_merges_tools_reads_the_rows_of_all_whatever_the_order_of_its_inputs(
    home: Warehouse,
):
    pipeline = Pipeline([*PIPELINE, TOY, MERGING])
    assert pipeline.direct_inputs(MERGING) == ("document_selection",)
    materialise(pipeline, TOY.name)
    partition = next(
        MERGING.partitions(validated({}, origin="test"), ENTRY, Toolbox({}, {}, {}), "m")
    )
    wanted = pipeline.expected(MERGING, partition, home)
    assert [name for name in wanted.fingerprint.parts if "." in name] == [f"{TOY.name}.{TOOL}"]
    assert {each.table for each in wanted.inputs} == set(MERGING.reads)


def test_a_stage_that_reads_what_it_does_not_declare_fails(home: Warehouse):
    blind = dataclasses.replace(TOY, reads=("documents",))
    result = materialise(Pipeline([*PIPELINE, blind]), TOY.name)
    error = failure_of(result.all_events, result.run_id)
    assert "reads 'candidate_calls', which its declaration does not name" in str(error)


def count_with_cost(work: PartitionRun) -> OutputRows:
    """Texts, and what counting them cost."""
    cost = StageCost("counting", 1, 20, 0.5, None, None)
    return dataclasses.replace(count_texts(work), costs=[cost])


def test_what_a_pass_costs_is_stored_if_the_declaration_names_the_pass(home: Warehouse):
    costly = dataclasses.replace(TOY, compute=count_with_cost)
    result = materialise(Pipeline([*PIPELINE, costly]), TOY.name)
    error = failure_of(result.all_events, result.run_id)
    assert "made counting, which its declaration does not name" in str(error)
    named = dataclasses.replace(costly, passes=("counting",))
    assert materialise(Pipeline([*PIPELINE, named]), TOY.name).success
    stored = home.read_partition("stage_costs", SHARD, f"{TOOL}.counting")
    assert stored["tokens_fed"].to_list() == [20]


def test_a_shard_that_fails_is_named_and_the_others_go_on_to_the_stages_behind(home: Warehouse):
    pipeline, stages = Pipeline([*PIPELINE, TOY, MERGING]), (TOY.name, MERGING.name)
    [info] = home.partitions("candidate_calls", SHARD)
    rows = info.path.read_bytes()
    info.path.write_bytes(b"no Parquet")
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(instance, pipeline, *stages)
        error = str(failure_of(result.all_events, result.run_id))
        assert error.startswith("1 shard failed.")
        assert info.path.name in error
        # Of the stage behind the UI says so, and a retry from failure makes it too.
        assert "skipped" not in error
        last = result.failure_data_for_node(MERGING.name)
        assert last
        assert last.user_failure_data
        assert str(last.user_failure_data.description).endswith(f"earlier stage failed: {SHARD}.")
        assert partitions(result) == [OTHER] * 2
        assert [failed_partitions(instance, name) for name in stages] == [{SHARD}] * 2
        info.path.write_bytes(rows)
        again = run(instance, pipeline, *stages)
        assert again.success
        assert partitions(again) == [SHARD, OTHER] * 2
        assert states(again)[:2] == [f"| {TOOL} | done |", f"| {TOOL} | up to date |"]
        assert [failed_partitions(instance, name) for name in stages] == [set()] * 2


def test_stages_name_earlier_stages_and_tables_that_exist():
    earlier = ["documents"]
    for stage in STAGES:
        assert {*stage.reads, *stage.reads_all} <= {*earlier}
        assert stage.table is None or stage.table in tables()
        assert stage.name not in earlier
        earlier.append(stage.name)
    for stage in PIPELINE:
        assert {stage.name, *stage.side_tables, *stage.reads_previous_round} <= tables().keys()
        assert set(stage.reads_indexes) <= {"wikipedia_index", "passage_index"}
        # Which only tools from outside have: `TOOL_VERSION` is for all.
        assert not {"tools.*.class", "tools.*.environment"}.intersection(stage.settings)
        of_tool = any(path.startswith("tools.") for path in Stage.all_settings.fget(stage))
        assert stage.per == PER_TOOL or not of_tool
        assert stage.per != PER_TOOL or "tool" in tables()[stage.name].column_names


def test_every_setting_is_named_by_a_stage_or_said_to_have_no_effect():
    for path in setting_paths():
        assert bool(stages_of(path)) != (path in WITHOUT_EFFECT), path
    assert WITHOUT_EFFECT.keys() <= set(setting_paths())


def test_every_path_that_a_stage_names_leads_to_a_setting():
    settings = validated({}, origin="test")
    for stage in STAGES:
        for path in stage.settings:
            setting_value(settings, path, TOOL)
        for path in stage.all_settings:
            assert any(each == path or each.startswith(f"{path}.") for each in setting_paths())
