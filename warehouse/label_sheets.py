"""Writes and reads sheets of kept calls: CSV files in which people judge calls.

A sheet hides losses and decisions, which could influence the judgement. Column `id` identifies a
row and changes with everything that the row shows. Of the other columns only `label` and `note` are
read back, so a spreadsheet may reformat the rest.
"""

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, get_args
from uuid import uuid4

import polars as pl

from warehouse.errors import SheetError
from warehouse.labels import Label, append_labels
from warehouse.partitions import storage_error
from warehouse.warehouse import Warehouse

# With 100 calls the 95 % interval of a tool's precision is at most 20 percentage points wide.
_CALLS_PER_TOOL = 100
# These prefixes keep a spreadsheet from reading a cell as a formula (`=1+1`), date (`1/3`) or
# number (`007`).
_CONTEXT, _RESULT = "… {}", "→ {}"
_CALL_OF_ID = r"^call-(.+)-[0-9a-f]{8}$"
_SHOWN = ["call_id", "document_id", "tool", "arguments", "result", "text_before", "text_after"]
_MAX_PROBLEMS_SHOWN = 10


class Draw(NamedTuple):
    """Unjudged calls as a sheet, and the size of the sample that also includes judged calls."""

    sheet: pl.DataFrame
    sampled: int


class Stored(NamedTuple):
    new: int
    unchanged: int


def draw_sheet(warehouse: Warehouse, judge: str | None) -> Draw:
    """Draw up to 100 kept calls per tool, without those that `judge` has already judged.

    The sample is the same for everyone. Tools alternate, so the first rows of a sheet are a fair
    sample too.
    """
    shards = warehouse.ask("shards_to_label", per_tool=_CALLS_PER_TOOL)["shard"]
    limited = warehouse.limited_to(shards.to_list())
    drawn = limited.ask("calls_to_label", per_tool=_CALLS_PER_TOOL, call_ids=[])
    judged = limited.ask("judged_by_rater", rater=judge)
    left = drawn.join(judged, on=["call_id", "round"], how="anti", maintain_order="left")
    sheet = left.select(
        "id",
        "tool",
        pl.format(_CONTEXT, "text_before").alias("text_before"),
        pl.format("{}({})", "tool", "arguments").alias("call"),
        pl.format(_RESULT, "result").alias("result"),
        pl.format(_CONTEXT, "text_after").alias("text_after"),
        label=pl.lit(""),
        note=pl.lit(""),
    )
    return Draw(sheet, drawn.height)


def write_sheet(sheet: pl.DataFrame, file: Path) -> None:
    """Write a new CSV file with a byte order mark, without which Excel misreads UTF-8."""
    try:
        with file.open("xb") as stream:
            sheet.write_csv(stream, include_bom=True, quote_style="always")
    except FileExistsError as error:
        raise SheetError(
            f"'{file}' already exists and may contain judgements. Expected the name of a new file. "
            "Choose another name, or remove the file."
        ) from error
    except OSError as error:
        raise storage_error(file, error) from error


def read_sheet(file: Path) -> pl.DataFrame:
    """Read a sheet as spreadsheets save it: with commas, semicolons or tabs, columns in any order.

    The result has columns `row` (number in the spreadsheet), `id`, `label` in the spelling of the
    view `labels` (empty if the call is not judged) and `note`.
    """
    try:
        text = file.read_text("utf-8-sig")
        separator = max(",;\t", key=text.partition("\n")[0].count)
        rows = pl.read_csv(io.StringIO(text), separator=separator, infer_schema=False)
        rows = rows.fill_null("").rename(lambda name: name.strip().lower())
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        raise SheetError(
            f"The sheet '{file}' cannot be read: {error}. Expected a CSV file in UTF-8. Save it "
            "from the spreadsheet as 'CSV UTF-8'."
        ) from error
    if missing := [name for name in ("id", "label") if name not in rows.columns]:
        raise SheetError(
            f"The sheet '{file}' has no column {' and no column '.join(missing)}. Expected the "
            "columns that `toolformer labels draw` writes; their order does not matter. Columns "
            f"found: {', '.join(rows.columns)}."
        )
    note = pl.col("note") if "note" in rows.columns else pl.lit("")
    label = pl.col("label").str.strip_chars().str.to_lowercase().str.replace_all(r"[\s_-]+", "_")
    return rows.with_row_index("row", offset=2).select(
        "row", pl.col("id").str.strip_chars(), label, note.str.strip_chars().alias("note")
    )


def store_judgements(warehouse: Warehouse, judge: str, rows: pl.DataFrame) -> Stored:
    """Append the judgements of a sheet that differ from the person's newest ones.

    The caller must hold the home's lock `labels`. If any row is invalid, SheetError is raised and
    nothing is stored.
    """
    rows = rows.filter(pl.col("label") != "")
    ids = rows["id"].str.extract(_CALL_OF_ID).drop_nulls()
    calls = warehouse.ask("calls_to_label", per_tool=0, call_ids=ids.to_list())
    if problems := _problems(rows, set(calls["id"])):
        shown = "; ".join(problems[:_MAX_PROBLEMS_SHOWN])
        num_hidden = len(problems) - _MAX_PROBLEMS_SHOWN
        more = f"; and {num_hidden} more" if num_hidden > 0 else ""
        raise SheetError(
            f"Nothing is stored, because the sheet has mistakes: {shown}{more}. Correct these "
            "rows, or delete those whose call is no longer kept, and read the sheet again."
        )
    judged = rows.drop("row").join(calls, on="id").select(*_SHOWN, "label", "note")
    newest = warehouse.query(
        "from labels where rater = $judge order by labelled_at", {"judge": judge}
    ).unique(_SHOWN, keep="last", maintain_order=True)
    new = judged.join(newest, on=judged.columns, how="anti", maintain_order="left")
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    append_labels(
        warehouse.folder,
        [
            {"label_id": uuid4().hex, "labelled_at": now, "rater": judge} | row
            for row in new.iter_rows(named=True)
        ],
    )
    return Stored(new.height, judged.height - new.height)


def _problems(rows: pl.DataFrame, known: set[str]) -> list[str]:
    first: dict[str, int] = {}
    problems = []
    for row, call, label in rows.select("row", "id", "label").iter_rows():
        if label not in get_args(Label):
            expected = ", ".join(get_args(Label))
            problems.append(f"row {row} has the label {label!r} (expected {expected})")
        if call not in known:
            problems.append(f"row {row} has the id {call!r}, and no call is kept with that id now")
        elif call in first:
            problems.append(f"row {row} judges the call of row {first[call]} again")
        first.setdefault(call, row)
    return problems
