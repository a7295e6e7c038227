"""Reports how many calls were sampled and kept, and at what cost (paper, table 2)."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from assets.run import Run
from assets.stage import Stage
from assets.stage_asset import REFRESH_AFTER_DEPENDENCIES, asset_of
from toolformer.home.report.verdicts import Verdict, verdicts_markdown, verdicts_of

CALL_STATISTICS = Stage(
    name="call_statistics",
    version="1",
    group="train",
    kinds=("python", "duckdb"),
    reads=("augmented_texts",),
    settings=("sampling.round",),
)


@asset_of(CALL_STATISTICS, automation_condition=REFRESH_AFTER_DEPENDENCIES)
def call_statistics(run: Run) -> dg.MaterializeResult:
    """How many calls were sampled and kept in the round of the settings, and their cost.

    The HTML page of the asset `report` shows funnel, thresholds and texts of all rounds.
    `toolformer stats` prints why calls were dropped.
    """
    loaded, store = run.settings, run.warehouse.skipping_damage()
    number = loaded.sampling.round
    statistics = store.view("call_statistics", round_number=number)
    verdicts = [verdict for verdict in verdicts_of(store) if verdict.round == number]
    return dg.MaterializeResult(
        metadata={
            **_results(verdicts),
            # Dagster plots these numbers over runs.
            "round": number,
            "candidates": int(statistics["candidates"].sum()),
            "kept": int(statistics["kept"].sum()),
            "tokens fed": int(statistics["tokens_fed"].sum()),
            "seconds of computing": round(float(statistics["seconds"].sum()), 1),
        }
    )


def _results(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    shares = {
        f"{name}: {verdict.tool}": share
        for verdict in verdicts
        for name, share in (
            ("kept share", verdict.against_chance.kept_share),
            ("chance share", verdict.against_chance.chance_share),
        )
    }
    numbers = {name: round(share, 4) for name, share in shares.items() if share is not None}
    return {"verdict": dg.MetadataValue.md(verdicts_markdown(verdicts)), **numbers}
