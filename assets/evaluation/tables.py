"""Scores laid out as the paper lays them out: models below each other, benchmarks side by side.

Does not read the warehouse.
"""

import polars as pl

_OTHER = "other"


def paper_tables(table: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The view `evaluation_table` as one table per heading of the paper.

    Args:
        table: the view.

    Returns:
        By heading, in the paper's order: a column with model and mode, and one per benchmark with
        the score in percent (of texts the perplexity) and its 95 % interval.
    """
    labelled = table.with_columns(
        pl.col("family").fill_null(_OTHER),
        pl.format(
            "{}{}{}",
            pl.when(source="paper").then(pl.lit("paper: ")).otherwise(pl.lit("")),
            "model",
            pl.when(pl.col("mode").is_null()).then(pl.lit("")).otherwise(pl.format(", {}", "mode")),
        ).alias("model"),
        pl.when(pl.col("low").is_null())
        .then(pl.format("{}", pl.col("score").round(1)))
        .otherwise(pl.format("{} ({} to {})", *(pl.col(n).round(1) for n in ("score", "low", "high"))))
        .alias("cell"),
    )
    return {
        str(family): of_family.pivot("benchmark", index="model", values="cell", maintain_order=True)
        for (family,), of_family in labelled.partition_by(
            "family", as_dict=True, maintain_order=True
        ).items()
    }


def verdicts(differences: pl.DataFrame, model: str, other_model: str, other_mode: str) -> pl.DataFrame:
    """What calls of a model gain over another, benchmark by benchmark.

    Args:
        differences: the view `evaluation_difference`.
        model: used with calls.
        other_model, other_mode: what it is compared with.
    """
    return differences.filter(
        model=model, mode="enabled", other_model=other_model, other_mode=other_mode
    ).select(
        "benchmark", "items", "better", "worse", "difference", "low", "high", "p_value", "verdict"
    )
