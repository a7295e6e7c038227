"""What a stage cost: tokens fed to the model and seconds, stored beside its rows.

Does not measure; `toolformer.stage_cost` does.
"""

from dataclasses import asdict

import polars as pl

from assets.shard_stage import ShardStage
from assets.shard_texts import typed_frame
from toolformer.stage_cost import StageCost


def store_cost(stage: ShardStage, shard: str, tool_name: str, cost: StageCost) -> None:
    """Replace the cost of one stage, tool and shard.

    Args:
        stage: the running stage.
        shard, tool_name: what it worked on.
        cost: its stage is one of those that `schema.sql` allows.
    """
    row = {
        "shard": shard,
        "tool": tool_name,
        "round": stage.settings.sampling.round,
        **asdict(cost),
    }
    stage.store_beside(
        "stage_costs",
        shard,
        stage.slice_name(f"{tool_name}.{cost.stage}"),
        typed_frame("stage_costs", [row]),
        metadata={},
    )


def costs_of(stage: ShardStage, shard: str, stage_name: str) -> dict[str, float]:
    """Tokens, seconds and tokens per candidate of one stage of a shard and round, all tools."""
    costs = stage.rows_of("stage_costs", shard).filter(pl.col("stage") == stage_name)
    tokens, candidates = int(costs["tokens_fed"].sum()), int(costs["candidates"].sum())
    return {
        "tokens fed": tokens,
        "tokens per candidate": round(tokens / candidates, 1) if candidates else 0.0,
        "seconds of computing": round(float(costs["seconds"].sum()), 2),
    }
