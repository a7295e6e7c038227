"""The asset check of each tool, which warns of what a person should look at.

What would make rows wrong fails the shard that has them: `warehouse/schema.sql`, when a partition
is written.
"""

from collections.abc import Iterator, Sequence

import dagster as dg

from toolformer.home.home import Home
from toolformer.home.report.verdicts import verdicts_of
from toolformer.home.wiring.warehouse import open_warehouse
from toolformer.scoring.chance_level import KeptAgainstChance

# A share of fewer calls is uncertain by 15 percentage points and more.
_FEWEST_CALLS = 30
# Of scored calls; the paper's table 2 keeps a few per cent.
_FEWEST_KEPT = 0.001
_DESCRIPTION = (
    "Of the tool's scored calls, of all shards, some are kept, and more with their own results "
    f"than with swapped ones; of fewer than {_FEWEST_CALLS} calls neither is asked. Where not, the "
    "filter keeps the habit of calling, not its use: look at the report, change the filtering "
    "threshold, or switch the tool off. The newest round decides."
)


def checks_of(tools: Sequence[str]) -> list[dg.AssetChecksDefinition]:
    """The checks of tools."""
    # Not by shard: the chance sample of one is too small to tell anything.
    specs = [
        dg.AssetCheckSpec(f"{name}_calls_help", asset="filtered_calls", description=_DESCRIPTION)
        for name in tools
    ]

    @dg.multi_asset_check(specs=specs)
    def calls_help() -> Iterator[dg.AssetCheckResult]:
        verdicts = verdicts_of(open_warehouse(Home.find()))
        for name, spec in zip(tools, specs, strict=True):
            found = [verdict for verdict in verdicts if verdict.tool == name]
            yield dg.AssetCheckResult(
                asset_key=spec.asset_key,
                check_name=spec.name,
                passed=not found or _is_plausible(found[-1].against_chance),
                severity=dg.AssetCheckSeverity.WARN,
                metadata={verdict.of: verdict.against_chance.sentence for verdict in found},
            )

    return [calls_help] if specs else []


def _is_plausible(found: KeptAgainstChance) -> bool:
    """Whether nothing speaks against a tool, also where too little was measured to tell."""
    if found.scored >= _FEWEST_CALLS and found.kept < _FEWEST_KEPT * found.scored:
        return False
    return found.chance_scored < _FEWEST_CALLS or bool(found.is_above_chance)
