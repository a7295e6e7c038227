"""`toolformer sql --files`: the rows of a table as they are now, for readers of Parquet."""

import re
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pytest

from tests.conftest import REPOSITORY
from tests.dagster_project.exports import store, store_calls
from toolformer.home.home import Home
from warehouse.warehouse import Warehouse

PAGE = REPOSITORY / "docs" / "sql.md"


@pytest.fixture
def rebuilt(warehouse: Warehouse) -> Warehouse:
    """Two kept calls, after three builds: the files of the first two are there still."""
    for loss in (3.0, 4.0, 5.0):
        store_calls(warehouse, "Calculator", [{"call_id": "c1", "loss_without_call": loss}])
        store_calls(warehouse, "Calendar", [{"call_id": "c2", "loss_without_call": loss}])
        store(warehouse, "training_texts", "all", "all", {})
    return warehouse


def test_the_page_counts_calls_once(rebuilt: Warehouse, home: Home, run, tmp_path, monkeypatch):
    everything = pl.scan_parquet(home.warehouse / "filtered_calls" / "*" / "*.parquet")
    assert everything.collect().height == 6
    outcome = run("sql", "--files", "filtered_calls", "--json")
    monkeypatch.chdir(tmp_path)
    Path("files.json").write_text(outcome.out)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict = {}
    exec(code, names)
    rows = sorted(rebuilt.query("select call_id, shard from filtered_calls").rows())
    assert len(rows) == 2
    assert sorted(names["kept"].select("call_id", "shard").rows()) == rows
    in_pandas: pd.DataFrame = names["kept_in_pandas"]
    shown = in_pandas[["call_id", "shard"]].itertuples(index=False, name=None)
    assert sorted(shown) == rows


@pytest.mark.parametrize("table", ["filtered_calls", "training_texts", "evaluation_results"])
def test_each_file_is_on_a_line_of_its_own_and_an_empty_table_has_its_columns(
    rebuilt: Warehouse, run, table: str
):
    files = run("sql", "--files", table).out.splitlines()
    assert [Path(file) for file in files] == rebuilt.files(table)
    frame = pl.read_parquet(files, hive_partitioning=False)
    stored = rebuilt.query(f'select * from "{table}"')
    assert set(frame.columns) == set(stored.columns)
    assert frame.height == stored.height


def test_what_is_no_table_or_stands_beside_a_query_is_refused(rebuilt: Warehouse, run):
    assert run("sql", "--files", "call_funnel").is_one_paragraph_naming("call_funnel")
    for others in (["select 1"], ["--csv"]):
        outcome = run("sql", "--files", "filtered_calls", *others)
        assert outcome.code == 2
        assert "This option prints paths" in outcome.err


def test_the_database_is_of_the_storage_version_that_duckdb_1_reads(rebuilt: Warehouse):
    with duckdb.connect(str(rebuilt.database_file), read_only=True) as connection:
        rows = connection.execute(
            "select tags['storage_version'] from duckdb_databases() where path = $path",
            {"path": str(rebuilt.database_file)},
        ).fetchall()
        views = connection.execute(
            "select sql from duckdb_views() where not internal "
            "union all select macro_definition from duckdb_functions() where not internal"
        ).fetchall()
    assert "v1.0.0" in rows[0][0]
    assert views
    # DuckDB 1.x knows it only in the text of a statement.
    assert not [text for (text,) in views if re.search(r'"?\bif\b"?\(', text or "")]
