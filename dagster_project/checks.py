"""Defines the asset checks, which warn about tools and settings that need attention.

Wrong rows never reach a check: `warehouse/schema.sql` rejects them when a partition is written, and
their shard fails.
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

# A share of fewer calls has an uncertainty of 15 percentage points or more.
_MIN_CALLS = 30
# Share of the scored calls. The paper's table 2 keeps a few per cent.
_MIN_KEPT_SHARE = 0.001
# With fewer calls, the share of a shard's calls that failed is too uncertain.
_MIN_CALLS_OF_SHARD = 10
_DESCRIPTION = (
    "Some of the tool's scored calls are kept, and more of them with their own results than with "
    "swapped results. All shards of the newest round count. A condition is only checked for at "
    f"least {_MIN_CALLS} calls. If the check fails, the filter rewards calling as such, not the "
    "results: read the report, change the filtering threshold, or switch the tool off."
)


@dg.asset_check(
    asset="filtered_calls",
    description="Every tool that is switched on can run on the machine of the run. Calls of other "
    "tools are not sampled; their stored calls are kept.",
    required_resource_keys=RESOURCES,
)
def tools_can_run(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    with expected_errors():
        settings = context.resources.settings.load()
        return _warning(
            context.resources.toolbox.open(Workspace(settings, Home.find())).unavailable
        )


@dg.asset_check(
    asset="filtered_calls",
    description="The stored calls of all tools that are switched on were made with the settings "
    "that toolformer.yaml has now. If the check fails, either a run overrode a setting, or the "
    "file has changed since. In the second case, materialise the stages again; `toolformer build "
    "--dry-run` lists what is out of date. Execute the check after you change the file.",
)
def settings_are_current() -> dg.AssetCheckResult:
    home = Home.find()
    with expected_errors():
        rounds = settings_of_rounds(home.settings_file)
        return _warning(changed_settings(open_warehouse(home).skipping_damage(), rounds))


@dg.asset_check(
    asset="executed_calls",
    description="At most half of a tool's calls failed in the shard. Checked for tools with at "
    f"least {_MIN_CALLS_OF_SHARD} calls. Failed calls are stored with the reason and never "
    "inserted into a text. If the check fails, the tool is down, or the model does not know how to "
    "call it.",
    partitions_def=SHARDS,
)
def most_calls_have_results(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    store = open_warehouse(Home.find()).skipping_damage()
    asset, severity = dg.AssetKey("executed_calls"), dg.AssetCheckSeverity.WARN
    run = context.op_execution_context
    with expected_errors():
        problems = {key: " ".join(failing_tools(store, key)) for key in run.partition_keys}
    # Dagster records a returned result for a partition only if the run has a single partition.
    for key, found in () if run.has_partition_key else problems.items():
        made = dg.AssetRecordsFilter(asset, asset_partitions=[key])
        # A shard that failed has no materialization.
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
            # `log_event` handles evaluations, but its annotation does not list them.
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
        if total < _MIN_CALLS_OF_SHARD or 2 * failed <= total:
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
    """Return, as text by path, the settings that changed since stored calls were made."""
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
        name: f"now {now[name]}; stored rows have "
        + ", ".join(f"{value} ({len(shards)} shards)" for value, shards in of.items())
        for name, of in sorted(changed.items())
    }


def checks_of(tools: Sequence[str]) -> list[dg.AssetChecksDefinition]:
    """Return the checks on all tools, and one check `<tool>_calls_help` per tool."""
    # These checks have no partitions: the chance sample of one shard is too small.
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
    """Return whether the tool's calls pass the check, or are too few to decide."""
    if found.scored >= _MIN_CALLS and found.kept < _MIN_KEPT_SHARE * found.scored:
        return False
    return found.chance_scored < _MIN_CALLS or bool(found.is_above_chance)
