"""What a stage cost: tokens fed to the model and seconds, stored beside its rows.

Does not measure; the stages do.
"""

from typing import TYPE_CHECKING

import polars as pl

from assets.shard_stage import ShardStage
from assets.shard_texts import typed_frame

if TYPE_CHECKING:
    from toolformer.forward.language_model import LanguageModel


def store_cost(
    stage: ShardStage,
    shard: str,
    tool_name: str,
    stage_name: str,
    *,
    candidates: int,
    tokens_fed: int,
    seconds: float,
    model: "LanguageModel | None",
) -> None:
    """Replace the cost of one stage, tool and shard.

    Args:
        stage: the running stage.
        shard, tool_name: what it worked on.
        stage_name: one of those that `schema.sql` allows.
        candidates: calls it worked on.
        tokens_fed: padding included; only those of this process where the stage was resumed.
        seconds: likewise.
        model: the model it used, if any.
    """
    row = {
        "shard": shard,
        "tool": tool_name,
        "stage": stage_name,
        "round": stage.settings.sampling.round,
        "candidates": candidates,
        "tokens_fed": tokens_fed,
        "seconds": seconds,
        "model": model.name if model else None,
        "precision": model.precision if model else None,
    }
    stage.warehouse.replace_slice(
        "stage_costs",
        shard,
        stage.slice_name(f"{tool_name}.{stage_name}"),
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
