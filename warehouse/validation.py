"""Checks frames for mistakes that the constraints of `schema.sql` cannot catch.

They are checked before they are written: DuckDB fills missing columns, casts and rounds without an
error, and does not know the path that the rows are written to.
"""

from collections.abc import Collection
from itertools import accumulate

import polars as pl

from toolformer.base.names import did_you_mean
from toolformer.base.untrusted_text import shown
from warehouse.errors import PartitionValidationError
from warehouse.layout import split_round
from warehouse.schema import TableSchema

_REMEDY = "Nothing was written; correct the rows and write the partition again."


def conform(schema: TableSchema, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with the table's columns in order; missing optional columns become null."""
    expected = schema.polars_schema
    for name, dtype in frame.schema.items():
        if name not in expected:
            raise PartitionValidationError(
                f"Table '{schema.name}' has no column '{name}'.{did_you_mean(name, expected)} "
                f"Expected: {', '.join(expected)}. {_REMEDY}"
            )
        if dtype not in (expected[name], pl.Null):
            example = shown(frame[name].drop_nulls().head(1).to_list())
            raise PartitionValidationError(
                f"Column '{name}' of table '{schema.name}' contains {dtype}, such as {example}. "
                f"Expected {expected[name]}. {_REMEDY}"
            )
    if frame.schema == expected:
        return frame
    absent = [column for column in schema.columns if column.name not in frame.columns]
    for column in absent:
        if column.is_required:
            raise PartitionValidationError(
                f"The frame for table '{schema.name}' has no column '{column.name}' "
                f"({column.description.rstrip('.')}), which every row needs. {_REMEDY}"
            )
    frame = frame.with_columns(pl.lit(None).alias(column.name) for column in absent)
    return frame.select(schema.column_names).cast(expected)


def check_path_agreement(
    schema: TableSchema, shards: Collection[str], name: str, frame: pl.DataFrame
) -> None:
    """Raise PartitionValidationError if a row contradicts the path that it is written to.

    Views take the shard from the path, which would silently overrule another shard in the rows.
    """
    round_number, rest = split_round(name)
    expected: dict[str, Collection[object]] = {"tool": [rest], "run": [name], "benchmark": [name]}
    if not schema.is_cross_shard:
        expected |= {"shard": shards, "round": [round_number]}
    if schema.name == "stage_costs":
        # The name ends with the first pass whose costs are stored.
        expected["tool"] = [rest.rpartition(".")[0]]
    elif schema.name == "evaluation_results":
        # The name begins with the benchmark.
        expected["benchmark"] = list(accumulate(name.split(".")[:-1], "{}.{}".format))
    for column in sorted(expected.keys() & frame.columns):
        differing = frame[column].drop_nulls()
        differing = differing.filter(~differing.is_in(list(expected[column])))
        if not differing.is_empty():
            raise PartitionValidationError(
                f"Table '{schema.name}': a row has {column} = {differing[0]!r}, but partition "
                f"'{name}' is for {' or '.join(map(repr, list(expected[column])[:2])) or 'none'}. "
                f"Nothing was written. Write each {column} to its own partition."
            )
