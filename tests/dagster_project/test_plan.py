"""What a build would do, from stored fingerprints alone: no model, no Java."""

import dataclasses
import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from assets.dataset.stages import PIPELINE
from assets.documents import DOCUMENTS, texts_fingerprint
from assets.stage import Partition
from dagster_project.runs.plan import BuildPlan, PlannedPartition
from tests.warehouse.rows import frame, new_warehouse, remove_partition
from toolformer.home.fingerprints import Fingerprint
from toolformer.home.home import Home
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.settings.sections import Settings, merged, validated
from toolformer.settings.settings_file import preset_values
from toolformer.sources.manifest import ShardEntry
from tools.base import Tool
from tools.plugins.function_tool import FunctionTool
from tools.prompting import load_prompt
from tools.registry import create_tool
from tools.retrieval.passage_ranking import PassageRanker
from tools.wikipedia_search import WikiSearch
from warehouse.layout import name_in_round
from warehouse.schema import ALL, table_schema
from warehouse.warehouse import Warehouse

ENTRY = ShardEntry("shard-00000", "texts.jsonl", 0, 2, "d" * 32, False)
STAGES = list(PIPELINE.names)


def settings_with(changes: dict | None = None) -> Settings:
    settings = merged(preset_values("laptop"), {"language_model": {"precision": "float32"}})
    return validated(merged(settings, changes or {}), origin="test")


def toolbox_of(*names: str, **options: float) -> Toolbox:
    return Toolbox(
        {name: create_tool(name, dict(options)) for name in names},
        {name: load_prompt(name, None) for name in names},
        {},
    )


def plan_of(
    warehouse: Warehouse,
    settings: Settings | None = None,
    toolbox: Toolbox | None = None,
    **changes,
) -> list[PlannedPartition]:
    given = {"annotator": "model-1", "force": False, **changes}
    plan = BuildPlan(
        warehouse, settings or settings_with(), toolbox or toolbox_of("Calculator"), **given
    )
    return plan.of([ENTRY])


def store(warehouse: Warehouse, settings: Settings, toolbox: Toolbox) -> None:
    """What a build stores, without rows but for one document."""
    texts = texts_fingerprint(ENTRY)
    rows = frame(DOCUMENTS, {"shard": ENTRY.key, "text": "one and one are two"})
    warehouse.replace_partition(DOCUMENTS, ENTRY.key, ALL, rows, metadata=texts.metadata())
    made = {(DOCUMENTS, ALL): texts.digest}
    for stage in PIPELINE:
        rows = pl.DataFrame(schema=table_schema(stage.name).polars_schema)
        for partition in stage.partitions(settings, ENTRY, toolbox, "model-1"):
            name, fingerprint = partition.tool_name, PIPELINE.fingerprint(stage, partition, made)
            made[stage.name, name] = fingerprint.digest
            partition_name = stage.output_name(name, settings.sampling.round)
            warehouse.replace_partition(
                stage.name, ENTRY.key, partition_name, rows, metadata=fingerprint.metadata()
            )


def sampled(
    changes: dict, tool: Tool, *, source: str = "texts.jsonl", stage: str = "candidate_calls"
) -> Fingerprint:
    """Of an output of a tool whose inputs stay as they are."""
    entry = dataclasses.replace(ENTRY, source=source)
    toolbox = Toolbox({tool.name: tool}, {tool.name: None}, {})
    partition = Partition(settings_with(changes), entry, toolbox, "model-1", tool.name)
    inputs = {(table, name): "x" for table in (DOCUMENTS, *STAGES) for name in (tool.name, "all")}
    return PIPELINE.fingerprint(PIPELINE[stage], partition, inputs)


@pytest.fixture(scope="module")
def built_home(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("built") / "home"
    store(new_warehouse(root), settings_with(), toolbox_of("Calculator", "Calendar"))
    return root


@pytest.fixture
def built(home: Home, warehouse: Warehouse, built_home: Path) -> Warehouse:
    shutil.copytree(built_home, home.root, dirs_exist_ok=True)
    return warehouse


BOTH = ("Calculator", "Calendar")


def reasons(planned: list[PlannedPartition]) -> dict[tuple[str, str], str]:
    return {(each.table, each.partition_name): each.reason for each in planned}


def test_everything_is_missing_in_an_empty_home(warehouse: Warehouse):
    planned = plan_of(warehouse)
    assert [each.table for each in planned] == STAGES
    assert {each.reason for each in planned} == {"missing"}
    costs = {each.table: each.tokens for each in planned}
    assert costs["candidate_calls"] > 0
    assert costs["scored_calls"] > 0
    free = ("executed_calls", "filtered_calls", "augmented_texts")
    assert {costs[table] for table in free} == {0}
    # The home has recorded no costs.
    unmeasured = {each.table for each in planned if each.seconds is None}
    assert unmeasured == {"candidate_calls", "executed_calls", "scored_calls"}


def test_a_tool_whose_index_is_to_come_is_planned_as_the_others(warehouse: Warehouse):
    planned = plan_of(warehouse, tools_without_index=["WikiSearch"])
    costs = {each.table: each.tokens for each in planned if each.partition_name == "WikiSearch"}
    assert list(costs) == STAGES[:-1]
    assert {name for name, tokens in costs.items() if tokens} == {"candidate_calls", "scored_calls"}


def test_each_text_is_a_window_and_costs_nothing_where_another_tool_annotates_it(
    warehouse: Warehouse,
):
    def tokens(changes: dict, entry: ShardEntry) -> int:
        settings = settings_with(changes)
        plan = BuildPlan(
            warehouse, settings, toolbox_of("Calculator"), annotator="model-1", force=False
        )
        return sum(each.tokens for each in plan.of([entry]))

    many = dataclasses.replace(ENTRY, records=20)
    assert tokens({}, many) > 5 * tokens({}, ENTRY)
    source = {"path": ENTRY.source, "tools": ["Calendar"]}
    assert tokens({"corpus": {"sources": [source]}}, many) == 0


def test_nothing_is_planned_where_everything_is_up_to_date_unless_it_is_forced(built: Warehouse):
    assert plan_of(built, toolbox=toolbox_of(*BOTH)) == []
    planned = plan_of(built, toolbox=toolbox_of(*BOTH), force=True)
    assert {(each.table, each.reason) for each in planned} == {(name, "forced") for name in STAGES}


@pytest.mark.parametrize("setting", ["filtering_threshold", "contrast_threshold"])
def test_a_threshold_changes_decisions_at_no_cost(built: Warehouse, setting: str):
    settings = settings_with({"tools": {"Calendar": {setting: 0.75}}})
    planned = plan_of(built, settings, toolbox_of(*BOTH))
    assert reasons(planned) == {
        ("filtered_calls", "Calendar"): f"changed: tools.Calendar.{setting}",
        ("augmented_texts", "all"): "changed: filtered_calls.Calendar",
    }
    assert sum(each.tokens for each in planned) == 0


@pytest.mark.parametrize(
    ("changes", "reason", "first"),
    [
        # Which other settings a stage depends on, docs/reference/settings.md says.
        (
            {"tools": {"Calendar": {"positions_per_text": 7}}},
            "tools.Calendar.positions_per_text",
            "candidate_calls",
        ),
        ({"execution": {"max_result_tokens": 9}}, "execution.max_result_tokens", "executed_calls"),
        ({"scoring": {"placement": "inline"}}, "scoring.placement", "scored_calls"),
    ],
)
def test_a_setting_names_itself_and_reaches_everything_below(
    built: Warehouse, changes: dict, reason: str, first: str
):
    planned = plan_of(built, settings_with(changes), toolbox_of(*BOTH))
    calendar = [each for each in planned if each.partition_name in ("Calendar", "all")]
    assert [each.table for each in calendar] == STAGES[STAGES.index(first) :]
    assert calendar[0].reason == f"changed: {reason}"


def test_the_precision_of_a_served_model_is_its_servers():
    served = {"language_model": {"server": {"url": "http://localhost:8000", "model": "m"}}}
    tool = create_tool("Calculator", {})
    for stage in ("candidate_calls", "scored_calls"):
        by_server, here = (
            {
                sampled(
                    merged(changes, {"language_model": {"precision": precision}}), tool, stage=stage
                ).digest
                for precision in ("auto", "bfloat16", "float32")
            }
            for changes in (served, {})
        )
        assert (len(by_server), len(here)) == (1, 3)


def test_another_version_or_prompt_of_a_tool_samples_that_tool_again_alone(built: Warehouse):
    toolbox = toolbox_of(*BOTH)
    tools = {**toolbox.tools, "Calculator": create_tool("Calculator", {"weak_share": 0.5})}
    prompts = {**toolbox.prompts, "Calculator": "Another {text}\nOutput:"}
    for changed, reason in (
        (Toolbox(tools, toolbox.prompts, {}), "changed: tool version"),
        (Toolbox(toolbox.tools, prompts, {}), "changed: prompt"),
    ):
        planned = reasons(plan_of(built, toolbox=changed))
        assert planned["candidate_calls", "Calculator"] == reason
        assert not [key for key in planned if key[1] == "Calendar"]


class OtherSearch(WikiSearch):
    """A search whose index was built anew."""

    @property
    def version(self) -> str:
        return f"{super().version} built anew"


def search_of(tmp_path: Path, made: type[WikiSearch] = WikiSearch, **options: float) -> Toolbox:
    (tmp_path / "index").mkdir(exist_ok=True)
    tool = made(tmp_path / "index", **options)
    return Toolbox({tool.name: tool}, {tool.name: load_prompt(tool.name, None)}, {})


def test_what_changes_answers_alone_makes_the_calls_again_and_samples_none(
    warehouse: Warehouse, tmp_path, monkeypatch
):
    monkeypatch.setattr(PassageRanker, "fingerprint", lambda _: "f")
    store(warehouse, settings_with(), search_of(tmp_path))
    for other in (search_of(tmp_path, k1=1.2), search_of(tmp_path, OtherSearch)):
        planned = reasons(plan_of(warehouse, toolbox=other))
        assert next(iter(planned)) == ("executed_calls", "WikiSearch")
        assert planned["executed_calls", "WikiSearch"] == "changed: tool version"


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("Calculator", {"weak_share": 0.5}, {"decimals": 3}),
        ("Calendar", {"latest_date": "2020-01-01"}, None),
    ],
)
def test_settings_of_the_preselection_sample_again_and_others_do_not(
    name: str, before: dict, after: dict | None
):
    def of(options: dict) -> Fingerprint:
        return sampled({}, create_tool(name, options))

    assert of(before) != of({})
    assert after is None or of(after) == of({})


def test_proposals_are_part_of_the_samples_of_tools_that_make_them_and_of_no_others():
    def of(proposals: str, tool: Tool) -> Fingerprint:
        return sampled({"sampling": {"proposals": proposals}}, tool)

    calendar = create_tool("Calendar")
    silent = FunctionTool.from_function(lambda: "x", name="Silent", description="Says x.")
    found = [of(kind, calendar) for kind in ("none", "positions", "calls")]
    assert len({each.digest for each in found}) == 3
    assert json.loads(found[2].parts["proposals"]) == ["calls", "2"]
    assert of("calls", calendar).difference(found[0].metadata()) == "changed: proposals"
    assert of("calls", silent) == of("none", silent)


def test_a_source_for_other_tools_changes_the_samples_of_the_tools_it_leaves_out():
    calendar = create_tool("Calendar")

    def of(**source: object) -> Fingerprint:
        changes = {"corpus": {"sources": [{"path": "a.jsonl", **source}]}}
        return sampled(changes, calendar, source="a.jsonl")

    assert of(tools=["Calendar", "QA"]) == of()
    assert of(tools=["QA"]).difference(of().metadata()) is not None
    assert of(tools=["QA"]) == of(tools=[])


def test_texts_of_other_records_make_all_that_was_made_of_them_anew(built: Warehouse):
    texts = built.read_partition(DOCUMENTS, ENTRY.key, ALL)
    other = texts_fingerprint(dataclasses.replace(ENTRY, digest="f" * 32)).metadata()
    built.replace_partition(DOCUMENTS, ENTRY.key, ALL, texts, metadata=other)
    planned = reasons(plan_of(built, toolbox=toolbox_of(*BOTH)))
    assert planned["candidate_calls", "Calendar"] == "changed: documents"


def test_a_lost_partition_alone_is_made_again_and_lost_texts_change_nothing(built: Warehouse):
    remove_partition(built, DOCUMENTS, ENTRY.key, ALL)
    assert plan_of(built, toolbox=toolbox_of(*BOTH)) == []
    remove_partition(built, "executed_calls", ENTRY.key, "Calendar")
    planned = reasons(plan_of(built, toolbox=toolbox_of(*BOTH)))
    assert planned == {("executed_calls", "Calendar"): "missing"}


def test_a_build_of_one_tool_keeps_the_other_in_the_texts(built: Warehouse):
    assert plan_of(built, toolbox=toolbox_of("Calendar")) == []
    settings = settings_with({"tools": {"Calendar": {"filtering_threshold": 0.75}}})
    planned = reasons(plan_of(built, settings, toolbox_of("Calendar")))
    assert planned["augmented_texts", "all"] == "changed: filtered_calls.Calendar"


LATER = {"sampling": {"round": 2, "annotator": "/models/toolformer", "uses_prompt": False}}


def without_prompts(toolbox: Toolbox) -> Toolbox:
    return Toolbox(toolbox.tools, dict.fromkeys(toolbox.tools), {})


def test_the_model_and_the_prompt_count_and_not_what_the_settings_call_them(built: Warehouse):
    same_model = settings_with({"sampling": {"annotator": "/models/the-base-model"}})
    assert plan_of(built, same_model, toolbox_of(*BOTH)) == []
    no_prompt = settings_with({"sampling": {**LATER["sampling"], "round": 1}})
    planned = reasons(plan_of(built, no_prompt, without_prompts(toolbox_of(*BOTH))))
    assert planned["candidate_calls", "Calendar"] == "changed: prompt"


def test_a_later_round_is_planned_beside_the_first_and_made_stale_by_its_annotator_alone(
    built: Warehouse,
):
    settings, toolbox = settings_with(LATER), without_prompts(toolbox_of("Calendar"))
    planned = reasons(plan_of(built, settings, toolbox))
    assert planned == {
        **{(table, "round-2.Calendar"): "missing" for table in STAGES[:-1]},
        ("augmented_texts", "round-2.all"): "missing",
    }
    store(built, settings, toolbox)
    assert plan_of(built, settings, toolbox) == []
    planned = reasons(plan_of(built, settings, toolbox, annotator="model-2"))
    assert planned["candidate_calls", "round-2.Calendar"] == "changed: language model"
    assert planned["augmented_texts", "round-2.all"] == "changed: filtered_calls.Calendar"
    assert plan_of(built, toolbox=toolbox_of(*BOTH)) == []


def test_costs_are_those_measured_in_the_same_round_where_it_has_any(built: Warehouse):
    def measured(number: int, tokens: int) -> None:
        of_round = {"tool": "Calendar", "round": number, "tokens_fed": tokens, "seconds": 2.0}
        costs = frame("stage_costs", {"shard": ENTRY.key, "stage": "sampling", **of_round})
        name = name_in_round(number, "Calendar.sampling")
        built.replace_partition("stage_costs", ENTRY.key, name, costs, metadata={})

    def expected(changes: dict) -> tuple[int, float]:
        planned = plan_of(built, settings_with(changes), toolbox_of("Calendar"), force=True)
        (of_samples,) = [each for each in planned if each.table == "candidate_calls"]
        return of_samples.tokens, round(of_samples.seconds or 0.0, 6)

    # The shard's one text has 19 characters: 100 tokens a character, 950 tokens a second.
    measured(1, 1900)
    assert expected(LATER) == expected({}) == (1900, 2.0)
    measured(2, 190)
    assert expected(LATER) == (190, 2.0)
    assert expected({}) == (1900, 2.0)
