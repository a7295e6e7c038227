"""Scores laid out as the paper lays them out: models below each other, benchmarks side by side."""

import polars as pl

from toolformer.evaluation.modes import DISABLED, ENABLED


def paper_tables(table: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The view `evaluation_table` as one table per heading of the paper.

    Returns:
        By heading, in the paper's order: a column with model and mode, and one per benchmark with
        the score in percent (of texts the perplexity), its 95 % interval and of how many items; of
        texts KL(base ‖ model) besides.
    """
    score, low, high = (pl.col(name).round(1) for name in ("score", "low", "high"))
    is_paper = pl.col("source") == "paper"
    rounded = pl.col("divergence_from_base").round(4)
    divergence = pl.format(", {} nats a token from base", rounded).fill_null("")
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
    """What calls gain over the model's answers without, of the view `evaluation_difference`."""
    others = {"other_model": model, "other_mode": DISABLED.name}
    pair = {"model": model, "mode": ENABLED, **others}
    return differences.filter(**pair).drop(*pair)
