"""What is told of kept calls beside chance: by the asset checks, and by the examples shown."""

from collections.abc import Sequence

import dagster as dg
import pytest

from dagster_project.checks import checks_of, failing_tools, most_calls_have_results
from dagster_project.commands.stats import show_examples
from dagster_project.definitions import definitions
from dagster_project.run_tags import RANGE_END_TAG, RANGE_START_TAG
from tests.warehouse import rows
from tests.warehouse.rows import SAMPLED, SHARD, fill, frame, put_calls, save_manifest
from toolformer.home.home import Home
from toolformer.home.partitions import SHARDS, register
from toolformer.home.report.verdicts import Verdict
from toolformer.scoring.chance_level import ChanceComparison
from toolformer.settings.sections import validated
from warehouse.warehouse import Warehouse

DROPPED = {"is_kept": False, "reason": "below_threshold", "loss_reduction": 0.1}


def put(
    warehouse: Warehouse, number: int, kept: int, dropped: int, by_chance: Sequence[bool] = ()
) -> None:
    rows = [
        {"call_id": f"{number}-{index}", "round": number}
        | ({} if index < kept else DROPPED)
        | (SAMPLED | {"is_kept_by_chance": by_chance[index]} if index < len(by_chance) else {})
        for index in range(kept + dropped)
    ]
    name = "Calculator" if number == 1 else f"round-{number}.Calculator"
    warehouse.replace_partition(
        "filtered_calls", SHARD, name, frame("filtered_calls", *rows), metadata={}
    )


def outcomes(**tools: dict) -> dict[str, dg.AssetCheckResult]:
    """What the checks of the tools that are switched on say, by name."""
    *_, check = checks_of(validated({"tools": tools}, origin="test").tools.enabled_names)
    return {str(result.check_name): result for result in check()}


def is_calculator_fine() -> bool:
    result = outcomes()["Calculator_calls_help"]
    assert result.passed or result.severity is dg.AssetCheckSeverity.WARN
    return result.passed


def test_each_tool_that_is_switched_on_has_a_check_of_its_own(warehouse: Warehouse):
    put(warehouse, 1, kept=10, dropped=90, by_chance=[True] * 3 + [False] * 27)
    found = outcomes(WikiSearch={"is_enabled": False})
    assert {name: result.passed for name, result in found.items()} == {
        f"{tool}_calls_help": tool != "Calculator"
        for tool in ("QA", "Calculator", "MT", "Calendar")
    }
    told = found["Calculator_calls_help"].metadata["Calculator"].value
    assert "not distinguishable from chance" in str(told)


def test_a_tool_warns_where_enough_calls_say_that_it_helps_none(warehouse: Warehouse):
    # Nobody measured what swapped results keep.
    put(warehouse, 1, kept=10, dropped=90)
    assert is_calculator_fine()
    put(warehouse, 1, kept=0, dropped=30)
    assert not is_calculator_fine()
    # As in the demo: too few to tell, and a table that helps nearly everywhere.
    put(warehouse, 1, kept=0, dropped=29)
    assert is_calculator_fine()
    put(warehouse, 1, kept=4, dropped=14, by_chance=[True] * 2 + [False] * 8)
    assert is_calculator_fine()
    put(warehouse, 1, kept=62, dropped=2, by_chance=[False] * 30)
    assert is_calculator_fine()


def test_the_newest_round_of_a_tool_decides(warehouse: Warehouse):
    put(warehouse, 1, kept=0, dropped=30)
    put(warehouse, 2, kept=10, dropped=90)
    assert is_calculator_fine()
    assert len(outcomes()["Calculator_calls_help"].metadata) == 2


def test_a_tool_is_named_that_failed_for_more_than_half_of_a_shards_calls(warehouse: Warehouse):
    def answered(tool: str, reasons: Sequence[str | None]) -> None:
        failed = {"status": "failed", "result": None}
        calls = [
            {"call_id": f"{tool} {index}", "tool": tool, "reason": reason}
            | {"peeks": reason == "peeks"}
            | (failed if reason else {})
            for index, reason in enumerate(reasons)
        ]
        made = frame("executed_calls", *calls)
        warehouse.replace_partition("executed_calls", SHARD, tool, made, metadata={})

    answered("Calculator", ["division_by_zero"] * 2 + ["timeout"] * 9 + [None] * 10)
    answered("Calendar", ["timeout"] * 5 + [None] * 5)
    # Calls that were not made, and too few that were.
    answered("QA", ["peeks"] * 20 + ["timeout"] * 9)
    (found,) = failing_tools(warehouse, SHARD)
    assert found.startswith(
        f"11 of 21 calls of Calculator failed in {SHARD}, most often with 'timeout' (9)."
    )


@pytest.mark.parametrize("shards", [[SHARD], [SHARD, "shard-00002"]])
def test_the_check_of_results_is_stored_for_each_shard_of_a_run(home: Home, shards: list[str]):
    save_manifest(home.sources)
    store = rows.new_warehouse(home.root)
    failed = {"status": "failed", "result": None, "reason": "timeout"}
    calls = [{"call_id": str(index), **failed} for index in range(10)]
    made = frame("executed_calls", *calls)
    store.replace_partition("executed_calls", SHARD, "Calculator", made, metadata={})

    @dg.asset(name="executed_calls", partitions_def=SHARDS)
    def executed() -> None:
        pass

    with dg.DagsterInstance.ephemeral() as instance:
        register(instance, SHARDS, shards)
        tags = {RANGE_START_TAG: shards[0], RANGE_END_TAG: shards[-1]}
        of_one = {"partition_key": SHARD} if len(shards) == 1 else {"tags": tags}
        result = dg.materialize([executed, most_calls_have_results], instance=instance, **of_one)
    evaluations = result.get_asset_check_evaluations()
    # Else the UI shows them as missing.
    assert all(each.target_materialization_data for each in evaluations)
    found = {each.partition: each.passed for each in evaluations}
    assert found == {shard: shard != SHARD for shard in shards} | (
        {None: False} if len(shards) > 1 else {}
    )


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (ChanceComparison(30, 60, 0, 30, 0, 15), "⟦[Calculator(400 / 1400) -> 0.29]⟧"),
        (ChanceComparison(25, 144, 5, 30, 1, 5), "no example; not distinguishable from chance"),
        (ChanceComparison(25, 144, 0, 0, 0, 0), "the chance level was not measured"),
        (ChanceComparison(0, 144, 0, 30, 0, 0), "Calculator: no example; 0 % of 144 calls kept"),
    ],
)
def test_a_tool_has_examples_only_where_it_is_above_chance(
    warehouse: Warehouse, capsys, found: ChanceComparison, line: str
):
    # One kept call of the Calculator, in round 1.
    fill(warehouse)
    show_examples(warehouse, [Verdict("Calculator", 1, found)])
    out = capsys.readouterr().out
    assert line in out
    assert ("⟦" in out) == ("⟦" in line)


@pytest.fixture
def decide(home: Home):
    """Decides a shard's calls of the Calculator as the UI does; gives logs, metadata and checks."""
    store = rows.new_warehouse(home.root)
    save_manifest(home.sources)
    rows.put(store, "documents", fingerprint="texts")
    put_calls(store, {}, fingerprint="scored", tables=("candidate_calls", "scored_calls"))

    def run(file: str, **overrides: object) -> tuple[list[str], dict, dict]:
        others = "".join(f"  {name}: {{is_enabled: false}}\n" for name in ("QA", "MT", "Calendar"))
        home.settings_file.write_text(
            f"tools:\n  WikiSearch: {{is_enabled: false}}\n{others}{file}"
        )
        with dg.DagsterInstance.ephemeral() as instance:
            register(instance, SHARDS, [SHARD])
            result = (
                definitions()
                .resolve_job_def("build_dataset")
                .execute_in_process(
                    instance=instance,
                    partition_key=SHARD,
                    asset_selection=[dg.AssetKey("filtered_calls")],
                    run_config={"resources": {"settings": {"config": {"overrides": overrides}}}},
                )
            )
            logs = instance.all_logs(result.run_id)
        (made,) = result.get_asset_materialization_events()
        return (
            [log.user_message for log in logs if log.level == 30],
            {name: each.value for name, each in made.materialization.metadata.items()},
            {each.check_name: each for each in result.get_asset_check_evaluations()},
        )

    return run


@pytest.mark.slow
def test_a_tool_that_cannot_be_imported_is_a_warning_in_the_log_and_on_the_asset(decide):
    logs, metadata, checks = decide("  Mine: {class: 'module_that_is_not_there:Tool'}\n")
    (told,) = [log for log in logs if log.startswith("Mine is left out: ")]
    assert "the import of module_that_is_not_there:Tool failed" in told
    assert told.partition(" is ")[2] in metadata["partitions"]
    assert not checks["tools_can_run"].passed
    assert checks["tools_can_run"].severity is dg.AssetCheckSeverity.WARN
    assert told.endswith(str(checks["tools_can_run"].metadata["Mine"].value))
    logs, _, checks = decide("")
    assert logs == []
    assert checks["tools_can_run"].passed


@pytest.mark.slow
def test_rows_name_their_settings_and_a_check_warns_while_the_file_has_others(decide):
    threshold, check = "tools.Calculator.filtering_threshold", "settings_are_current"
    overrides = {"tools": {"Calculator": {"filtering_threshold": 0.25}}}
    _, metadata, checks = decide("", **overrides)
    assert f"{threshold} | 0.25" in metadata["settings"]
    assert metadata["overrides"] == overrides
    found = checks[check].metadata[threshold].value
    assert (checks[check].passed, found) == (False, "now 0.5; stored rows have 0.25 (1 shards)")
    # Rows that are up to date were made with the same ones, by whichever run.
    _, metadata, checks = decide("  Calculator: {filtering_threshold: 0.25}\n")
    assert f"{threshold} | 0.25" in metadata["settings"]
    assert "overrides" not in metadata
    assert checks[check].passed
