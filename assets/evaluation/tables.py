"""Lays out scores as in the paper: one row per model, one column per benchmark."""

import polars as pl

from toolformer.evaluation.modes import DISABLED, ENABLED


def paper_tables(table: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the view `evaluation_table` as one table per heading of the paper, in its order.

    Scores are in percent; texts have perplexity and KL(base ‖ model) instead.
    """
    score, low, high = (pl.col(name).round(1) for name in ("score", "low", "high"))
    is_paper = pl.col("source") == "paper"
    rounded = pl.col("divergence_from_base").round(4)
    divergence = pl.format(", {} nats per token from base", rounded).fill_null("")
    labelled = table.with_columns(
        pl.col("family").fill_null("other"),
        pl.when(is_paper)
        .then(pl.format("paper: {}", "model"))
        .otherwise(pl.format("{}, {}", "model", "mode"))
        .alias("model"),
        pl.when(is_paper)
        .then(score.cast(pl.String))
        .otherwise(pl.format("{} ({} to {}), {} items{}", score, low, high, "items", divergence))
        .alias("cell"),
    )
    return {
        str(family): rows.pivot("benchmark", index="model", values="cell", maintain_order=True)
        for (family,), rows in labelled.partition_by(
            "family", as_dict=True, maintain_order=True
        ).items()
    }


def gains(differences: pl.DataFrame, *, model: str) -> pl.DataFrame:
    """Return the rows of `evaluation_difference` that compare a model with and without calls."""
    others = {"other_model": model, "other_mode": DISABLED.name}
    pair = {"model": model, "mode": ENABLED, **others}
    return differences.filter(**pair).drop(*pair)
