"""Checks a frame before it is written: what the constraints of `schema.sql` cannot see.

These are columns and types (DuckDB would fill, cast and round in silence), and the agreement of
rows with the path they go to. DuckDB checks NOT NULL, CHECK and PRIMARY KEY.
"""

from collections.abc import Collection

import polars as pl

from toolformer.base.names import did_you_mean
from warehouse.errors import PartitionValidationError
from warehouse.layout import split_round
from warehouse.schema import ColumnSchema, TableSchema

_SHOWN_CHARACTERS = 300
_REMEDY = "Nothing was written; correct the rows and write the partition again."


def conform(schema: TableSchema, frame: pl.DataFrame) -> pl.DataFrame:
    """Returns the columns of the frame in the order of the table.

    Raises:
        PartitionValidationError: A column is unknown, missing or not of its type.
    """
    for name in frame.columns:
        if name not in schema.column_names:
            hint = did_you_mean(name, schema.column_names)
            raise PartitionValidationError(
                f"Table '{schema.name}' has no column '{name}'.{hint} "
                f"Expected: {', '.join(schema.column_names)}. {_REMEDY}"
            )
    present = []
    for column in schema.columns:
        if column.name in frame.columns:
            present.append(_typed(schema, column, frame[column.name]))
        elif column.is_required:
            raise PartitionValidationError(
                f"The frame for table '{schema.name}' has no column '{column.name}' "
                f"({column.description.rstrip('.')}), which every row needs. {_REMEDY}"
            )
        else:
            present.append(pl.Series(column.name, [None] * frame.height, column.dtype))
    return pl.DataFrame(present)


def check_path_agreement(
    schema: TableSchema, shards: Collection[str], name: str, frame: pl.DataFrame
) -> None:
    """Checks that the rows belong into the partitions they are written to.

    The views take the shard from the path, so a differing column would be overruled in silence.

    Raises:
        PartitionValidationError: A row names another shard, tool, round, run or benchmark.
    """
    if not schema.is_cross_shard:
        _require_constant(schema, frame, "shard", *shards)
    round_number, rest = split_round(name)
    if "round" in schema.column_names and not schema.is_cross_shard:
        _require_constant(schema, frame, "round", round_number)
    if schema.name == "stage_costs":
        # Behind the tool stands the first of the passes whose costs these are.
        _require_constant(schema, frame, "tool", rest.rpartition(".")[0])
    elif "tool" in schema.column_names:
        _require_constant(schema, frame, "tool", rest)
    elif schema.name == "training_metrics":
        _require_constant(schema, frame, "run", name)
    elif schema.name in ("score_intervals", "paired_differences"):
        _require_constant(schema, frame, "benchmark", name)
    elif schema.name == "evaluation_results":
        for benchmark in frame["benchmark"].drop_nulls().unique():
            if not name.startswith(f"{benchmark}."):
                _raise_disagreement(schema, "benchmark", benchmark, f"'{name}'")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _typed(schema: TableSchema, column: ColumnSchema, series: pl.Series) -> pl.Series:
    if series.dtype in (column.dtype, pl.Null):
        return series.cast(column.dtype)
    example = next(iter(series.drop_nulls()), None)
    raise PartitionValidationError(
        f"Column '{column.name}' of table '{schema.name}' is {column.type} ({column.dtype}), "
        f"but the frame holds {series.dtype}, such as {_shown(example)}. {_REMEDY}"
    )


def _require_constant(
    schema: TableSchema, frame: pl.DataFrame, column: str, *expected: object
) -> None:
    values = frame[column].drop_nulls()
    differing = values.filter(~values.is_in(expected))
    if not differing.is_empty():
        _raise_disagreement(schema, column, differing[0], " or ".join(map(repr, expected[:2])))


def _raise_disagreement(schema: TableSchema, column: str, value: object, expected: str) -> None:
    raise PartitionValidationError(
        f"Table '{schema.name}': a row has {column} = {value!r}, but the partition it is "
        f"written to is for {expected}. Write each {column} to its own partition. Nothing was "
        "written."
    )
