"""Asset checks: measurements of all shards that warn.

What would make rows wrong fails the shard that has them: `warehouse/schema.sql`, when a partition
is written.
"""

import dagster as dg

from toolformer_home.home import Home
from toolformer_home.report.verdicts import verdicts_of
from toolformer_home.wiring.warehouse import open_warehouse

# Of executed calls; the paper's table 2 keeps a few per cent, and a share outside says that
# thresholds and model do not fit.
_KEPT_SHARE_BAND = (0.001, 0.5)


@dg.asset_check(asset="filtered_calls")
def share_of_kept_calls_is_plausible() -> dg.AssetCheckResult:
    """Neither nearly none nor most of the executed calls should help the model, in any round."""
    shares = dict(open_warehouse(Home.find()).ask("kept_shares").iter_rows())
    low, high = _KEPT_SHARE_BAND
    return dg.AssetCheckResult(
        passed=all(low <= share <= high for share in shares.values()),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            **{f"share of kept calls{suffix}": share for suffix, share in shares.items()},
            "expected": f"{low} to {high}",
        },
    )


@dg.asset_check(asset="filtered_calls")
def kept_calls_are_above_chance() -> dg.AssetCheckResult:
    """Of each tool and round more calls are kept with their own results than with swapped ones.

    Where not, the filter keeps the habit of calling, not its use: look at the report, raise the
    filtering threshold, or leave the tool out.
    """
    verdicts = verdicts_of(open_warehouse(Home.find()))
    return dg.AssetCheckResult(
        # None where the chance level was not measured.
        passed=all(verdict.against_chance.is_above_chance is not False for verdict in verdicts),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={verdict.of: verdict.against_chance.sentence for verdict in verdicts},
    )


CHECKS = [
    share_of_kept_calls_is_plausible,
    kept_calls_are_above_chance,
]
