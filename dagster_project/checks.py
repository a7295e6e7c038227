"""The asset checks, which warn of what a person should look at.

What would make rows wrong fails the shard that has them: `warehouse/schema.sql`, when a partition
is written.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import dagster as dg
import polars as pl

from assets.dagster_internals import AssetCheckEvaluationTargetMaterializationData
from assets.dataset.execution import PEEKS
from assets.dataset.stages import PIPELINE
from assets.failures import expected_errors
from assets.run import RESOURCES
from assets.stage import PER_TOOL
from toolformer.home.fingerprints import PARTS
from toolformer.home.home import Home
from toolformer.home.partitions import SHARDS
from toolformer.home.report.verdicts import verdicts_of
from toolformer.home.wiring.workspace import Workspace, open_warehouse
from toolformer.scoring.chance_level import ChanceComparison
from toolformer.settings.sections import Settings
from toolformer.settings.settings_file import settings_of_rounds
from warehouse.layout import split_round
from warehouse.warehouse import Warehouse

# A share of fewer calls is uncertain by 15 percentage points and more.
_FEWEST_CALLS = 30
# Of scored calls; the paper's table 2 keeps a few per cent.
_FEWEST_KEPT = 0.001
# As for the share of a shard's calls that failed.
_FEWEST_MADE = 10
_DESCRIPTION = (
    "Of the tool's scored calls, of all shards, some are kept, and more with their own results "
    f"than with swapped ones; of fewer than {_FEWEST_CALLS} calls neither is asked. Where not, the "
    "filter keeps the habit of calling, not its use: look at the report, change the filtering "
    "threshold, or switch the tool off. The newest round decides."
)


@dg.asset_check(
    asset="filtered_calls",
    description="Every tool that is switched on can run where the run was; calls of the others are "
    "not sampled, and those that are stored stay.",
    required_resource_keys=RESOURCES,
)
def tools_can_run(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Warn of tools that are left out, with the reason."""
    with expected_errors():
        settings = context.resources.settings.load()
        return _warning(
            context.resources.toolbox.open(Workspace(settings, Home.find())).unavailable
        )


@dg.asset_check(
    asset="filtered_calls",
    description="The stored calls of all shards, of the tools that are switched on, were made with "
    "the settings that toolformer.yaml has now. If not, materialize the stages again (`toolformer "
    "build --dry-run` lists what is out of date), or the setting in the file is not the one of the "
    "run. Execute the check after a change of the file.",
)
def settings_are_current() -> dg.AssetCheckResult:
    """Warn of settings that changed since rows were made."""
    home = Home.find()
    with expected_errors():
        rounds = settings_of_rounds(home.settings_file)
        return _warning(changed_settings(open_warehouse(home).skipping_damage(), rounds))


@dg.asset_check(
    asset="executed_calls",
    description="At most half of the calls of a tool failed in the shard, if at least "
    f"{_FEWEST_MADE} were made. Failed calls are stored with the reason and come into no text. If "
    "most fail, the tool is down, or the model does not know how to call it.",
    partitions_def=SHARDS,
)
def most_calls_have_results(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Warn of tools for which more than half of a shard's calls failed."""
    store = open_warehouse(Home.find()).skipping_damage()
    asset, severity = dg.AssetKey("executed_calls"), dg.AssetCheckSeverity.WARN
    run = context.op_execution_context
    with expected_errors():
        problems = {key: " ".join(failing_tools(store, key)) for key in run.partition_keys}
    # Dagster stores what is returned for a partition only in a run of one.
    for key, found in () if run.has_partition_key else problems.items():
        made = dg.AssetRecordsFilter(asset, asset_partitions=[key])
        # None of a shard that failed.
        for last in context.instance.fetch_materializations(made, limit=1).records:
            evaluation = dg.AssetCheckEvaluation(
                asset,
                "most_calls_have_results",
                passed=not found,
                target_materialization_data=AssetCheckEvaluationTargetMaterializationData(
                    storage_id=last.storage_id, run_id=last.run_id, timestamp=last.timestamp
                ),
                severity=severity,
                description=found or None,
                partition=key,
            )
            # Missing in the type of the argument, not in the function.
            run.log_event(evaluation)  # pyright: ignore[reportArgumentType]
    all_found = " ".join(filter(None, problems.values()))
    return dg.AssetCheckResult(
        passed=not all_found, severity=severity, description=all_found or None
    )


def failing_tools(store: Warehouse, shard: str) -> list[str]:
    """Return a message for each tool that failed for more than half of the calls of a shard."""
    counts = store.query("from execution_counts order by tool", shards=[shard])
    made, found = counts.filter(pl.col("reason").ne_missing(PEEKS)), []
    for (tool,), calls in made.group_by("tool", maintain_order=True):
        reasons = calls.filter(status="failed").group_by("reason").agg(pl.col("calls").sum())
        total, failed = calls["calls"].sum(), reasons["calls"].sum()
        if total < _FEWEST_MADE or 2 * failed <= total:
            continue
        reason, count = reasons.sort("calls", "reason", descending=[True, False]).row(0)
        found.append(
            f"{failed} of {total} calls of {tool} failed in {shard}, most often with "
            f"'{reason}' ({count}). Expected results for at least half of them. Read `message` in "
            "`executed_calls`, then correct the tool or its prompt."
        )
    return found


def _warning(found: Mapping[str, str]) -> dg.AssetCheckResult:
    severity = dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(passed=not found, severity=severity, metadata=found)


def changed_settings(store: Warehouse, rounds: Sequence[Settings]) -> dict[str, str]:
    """Return the settings that differ from those of stored calls, by path, in words."""
    by_round = {settings.sampling.round: settings for settings in rounds}
    changed = defaultdict[str, dict[str, set[str]]](lambda: defaultdict(set))
    now = dict[str, str]()
    stages = {stage.name: stage for stage in PIPELINE if stage.per == PER_TOOL}

    @cache
    def due(table: str, number: int, tool: str) -> Mapping[str, str]:
        settings = by_round.get(number)
        if settings is None or tool not in settings.tools.enabled_names:
            return {}
        return stages[table].fingerprint(settings, {}, tool_name=tool).parts

    for shard, entry in store.entries(stages):
        number, tool = split_round(entry.name)
        if not (new := due(entry.table, number, tool)):
            continue
        old = stages[entry.table].settings_in(json.loads(entry.facts.get(PARTS, "{}")), tool)
        for path in old.keys() & new.keys():
            if old[path] != new[path]:
                name = path if number == 1 else f"{path}, round {number}"
                now[name] = new[path]
                changed[name][old[path]].add(shard)
    return {
        name: f"now {now[name]}; of stored rows "
        + ", ".join(f"{value} ({len(shards)} shards)" for value, shards in of.items())
        for name, of in sorted(changed.items())
    }


def checks_of(tools: Sequence[str]) -> list[dg.AssetChecksDefinition]:
    """The checks of all tools, and those of each."""
    # Not by shard: the chance sample of one is too small to tell anything.
    specs = [
        dg.AssetCheckSpec(f"{name}_calls_help", asset="filtered_calls", description=_DESCRIPTION)
        for name in tools
    ]

    @dg.multi_asset_check(specs=specs)
    def calls_help() -> Iterator[dg.AssetCheckResult]:
        verdicts = verdicts_of(open_warehouse(Home.find()).skipping_damage())
        for name, spec in zip(tools, specs, strict=True):
            found = [verdict for verdict in verdicts if verdict.tool == name]
            yield dg.AssetCheckResult(
                asset_key=spec.asset_key,
                check_name=spec.name,
                passed=not found or _is_plausible(found[-1].against_chance),
                severity=dg.AssetCheckSeverity.WARN,
                metadata={verdict.of: verdict.against_chance.sentence for verdict in found},
            )

    of_tools = [calls_help] if specs else []
    return [tools_can_run, settings_are_current, most_calls_have_results, *of_tools]


def _is_plausible(found: ChanceComparison) -> bool:
    """Whether nothing speaks against a tool, also where too little was measured to tell."""
    if found.scored >= _FEWEST_CALLS and found.kept < _FEWEST_KEPT * found.scored:
        return False
    return found.chance_scored < _FEWEST_CALLS or bool(found.is_above_chance)
