import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.warehouse.rows import SHARD, TEXT, frame, put, put_labels
from warehouse import query
from warehouse.connection import temporary_tables
from warehouse.counting import COUNTS
from warehouse.errors import PartitionsChangingError, QueryError
from warehouse.needs import STATISTICS_VIEWS, needs_of
from warehouse.schema import tables
from warehouse.warehouse import Warehouse


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("timestamp 'infinity'", "infinity"),
        ("timestamptz '0044-03-15 (BC) 12:00:00+00'", "0044-03-15 (BC) 12:00:00+00"),
        ("map{[1]: timestamp_s '12000-01-01'}", "{[1]='12000-01-01 00:00:00'}"),
        ("interval 1 day", "1 day"),
        ("(select sum(i) from range(4) r(i))", 6),
        ("340282366920938463463374607431768211455::uhugeint", str(2**128 - 1)),
    ],
)
def test_value_that_python_does_not_have_is_the_text_that_duckdb_writes(
    shared_warehouse: Warehouse, value: str, written: object
):
    assert shared_warehouse.query(f"select {value} as v").to_dicts() == [{"v": written}]


def test_no_column_needs_quotes(shared_warehouse: Warehouse):
    for table, schema in tables().items():
        found = shared_warehouse.query(f"select {', '.join(schema.column_names)} from {table}")
        assert found.columns == list(schema.column_names)


def test_table_of_all_shards_keeps_the_shard_in_its_rows(warehouse: Warehouse):
    put(warehouse, "training_texts")
    assert warehouse.query("select shard from training_texts")["shard"].to_list() == [SHARD]


def test_unprepared_warehouse_answers_with_no_rows_and_leaves_nothing_in_the_current_folder(
    tmp_path, monkeypatch
):
    warehouse = Warehouse(tmp_path / "home" / "warehouse", tmp_path / "home" / "warehouse.duckdb")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert warehouse.query("select * from call_funnel").height == 0
    warehouse.query("select count(*) as n from range(200000) order by n")
    assert list(here.iterdir()) == []


def test_shard_that_looks_like_a_number_stays_text(warehouse: Warehouse):
    put(warehouse, "documents", shard="00012")
    assert warehouse.query("select shard from documents")["shard"].to_list() == ["00012"]


WRITING = [
    "copy documents to '{out}'",
    "with x as (copy documents to '{out}') select 1 as a",
    "with x as (copy documents to '{inside}') select 1 as a",
    "with x as (insert into documents select * from documents returning 1) select 1 as a",
    "select 1 as a; copy documents to '{inside}'",
    "export database '{inside}'",
    "attach '{inside}' as other",
    "create table copied as select 1 as a",
    "set enable_external_access = true",
    "select * from enable_logging(storage = 'file', storage_path = '{inside}')",
    "select * from enable_profiling(save_location = '{inside}')",
    "load httpfs",
    "",
]


@pytest.mark.parametrize("statement", WRITING)
def test_query_cannot_write(shared_warehouse: Warehouse, tmp_path, statement: str):
    home = shared_warehouse.folder.parent
    before = files(home)
    sql = statement.format(out=tmp_path / "x", inside=shared_warehouse.folder / "x.parquet")
    with pytest.raises(QueryError):
        shared_warehouse.query(sql)
    assert files(home) == before
    assert files(tmp_path) == set()


@pytest.mark.parametrize(
    "source",
    [
        "read_text('/etc/passwd')",
        "read_text('{folder}/../secret.txt')",
        "read_blob('{folder}/../secret.txt')",
        "read_csv('http://127.0.0.1:9/x.csv')",
        "'https://127.0.0.1:9/x.parquet'",
        "glob('/etc/*')",
    ],
)
def test_query_sees_no_other_file_and_no_network(shared_warehouse: Warehouse, source: str):
    (shared_warehouse.folder.parent / "secret.txt").write_text("secret")
    sql = f"select * from {source.format(folder=shared_warehouse.folder)}"
    with pytest.raises(QueryError, match="Permission Error"):
        shared_warehouse.query(sql)


def test_variable_of_the_program_never_answers_for_a_table(shared_warehouse: Warehouse):
    secrets = frame("documents")
    assert secrets.height == 1
    with pytest.raises(QueryError, match="secrets"):
        shared_warehouse.query("select * from secrets")
    with temporary_tables() as connection, pytest.raises(duckdb.CatalogException, match="secrets"):
        connection.sql("select * from secrets")


@pytest.mark.parametrize("sql", ["pick 1", "select nothing from documents", "select 1 a, 2 a"])
def test_mistake_in_a_query_is_an_error_of_ours(shared_warehouse: Warehouse, sql: str):
    with pytest.raises(QueryError):
        shared_warehouse.query(sql)


def test_only_the_tables_that_a_query_names_are_opened():
    assert needs_of('select "round" from AUGMENTED_TEXTS').rows == {"augmented_texts"}
    assert needs_of("from evaluation_summary").rows == {"evaluation_results"}
    assert "filtered_calls" in needs_of("from kept_examples").rows
    assert needs_of("select 1").tables == set()
    assert needs_of("select sum(documents) from document_counts -- of documents").rows == set()
    for statement in (
        'select 1 from (main."documents" as d)',
        "from labels, documents",
        "summarize documents",
        "pivot documents on language",
    ):
        assert "documents" in needs_of(statement).rows
    for statement in (
        "describe documents",
        "from information_schema.tables",
        "from duckdb_views()",
    ):
        assert needs_of(statement).rows == set(tables())


@pytest.mark.parametrize(
    "statement",
    [
        "select count(*) as queries from documents",
        "select text from documents where text like '%query of a jpg_file%'",
        "with subquery as (from documents) from subquery",
        "select 'from scored_calls, ' || text from documents /* join executed_calls */",
        "with documents as (from main.documents) select unnest([1]), d.* from documents as d",
    ],
)
def test_letters_of_a_name_or_text_open_no_other_tables(statement: str):
    assert needs_of(statement).tables == {"documents"}


@pytest.mark.parametrize(
    "statement",
    [
        "from query('from docu' || 'ments')",
        "from QUERY_TABLE ('docu' || 'ments')",
        "from \"query\"('from docu' || 'ments')",
        "from query /* a text */ ('from docu' || 'ments')",
    ],
)
def test_tables_that_a_statement_puts_together_are_there(filled: Warehouse, statement: str):
    assert filled.query(statement).height == 1


def test_statistics_of_calls_read_no_rows():
    needs = needs_of("from threshold_sweep")
    assert not needs.rows
    assert needs.published == {"filtered_calls"}
    assert "loss_reductions" in needs.views


@pytest.mark.parametrize("disturbances", [0, 2, 9])
def test_a_query_is_repeated_three_times_while_partitions_are_moved_away(
    warehouse: Warehouse, monkeypatch, disturbances: int
):
    attempt, attempts = query._selection, []

    def disturbed(*arguments):
        attempts.append(1)
        if len(attempts) <= disturbances:
            [before] = warehouse.partitions("documents")
            put(warehouse, "documents", {"title": f"title {len(attempts)}"})
            assert before.path is not None
            before.path.unlink()
            raise duckdb.IOException("gone")
        if not disturbances:
            raise duckdb.OutOfMemoryException("too large")
        return attempt(*arguments)

    put(warehouse, "documents")
    monkeypatch.setattr(query, "_selection", disturbed)
    if disturbances == 2:
        assert warehouse.query("select text from documents")["text"].to_list() == [TEXT]
    else:
        with pytest.raises(PartitionsChangingError if disturbances else QueryError):
            warehouse.query("select * from documents")
    assert len(attempts) == {0: 1, 2: 3, 9: 4}[disturbances]


def test_database_file_holds_the_same_views_with_descriptions(warehouse: Warehouse):
    warehouse.prepare()
    put(warehouse, "documents")
    with duckdb.connect(str(warehouse.database_file), read_only=True) as connection:
        names = {name for (name,) in connection.execute("show tables").fetchall()}
        assert names == {*tables(), *COUNTS, *STATISTICS_VIEWS, "label_lines", "published"}
        assert connection.execute("select text from documents").fetchall() == [(TEXT,)]


@pytest.fixture
def copy(filled: Warehouse, tmp_path) -> Warehouse:
    """A copied home, in which only `put` and `put_labels` have run, and whose rows are others."""
    filled.prepare()
    home = tmp_path / "copies [1]"
    shutil.copytree(filled.folder, home / "warehouse")
    for name in ("labels.jsonl", "warehouse.duckdb"):
        shutil.copy2(tmp_path / name, home / name)
    found = Warehouse(home / "warehouse", home / "warehouse.duckdb")
    put(found, "documents", {"text": "a copy's"})
    put_labels(found, {"rater": "Copied"})
    return found


def texts_and_raters(database: Path | str, **options: Any) -> tuple[set[str], set[str]]:
    with duckdb.connect(str(database), **options) as connection:
        texts = connection.execute("select text from documents").fetchall()
        raters = connection.execute("select rater from labels").fetchall()
    return {text for (text,) in texts}, {rater for (rater,) in raters}


def test_database_file_of_a_copied_or_moved_home_reads_that_home(
    filled: Warehouse, copy: Warehouse, monkeypatch
):
    own, copied = ({TEXT}, {"Anna"}), ({"a copy's"}, {"Anna", "Copied"})
    for is_read_only in (False, True):
        options = {"read_only": is_read_only}
        assert texts_and_raters(filled.database_file, **options) == own
        assert texts_and_raters(copy.database_file, **options) == copied
    monkeypatch.chdir(copy.database_file.parent)
    assert texts_and_raters("warehouse.duckdb") == copied
    filled.folder.rename(filled.folder.with_name("gone"))
    assert texts_and_raters(copy.database_file) == copied


def test_database_file_that_cannot_tell_its_home_says_whose_rows_it_would_read(
    filled: Warehouse, copy: Warehouse, tmp_path
):
    spill = {"config": {"temp_directory": str(tmp_path / "spill")}}
    assert texts_and_raters(filled.database_file, **spill)[0] == {TEXT}
    renamed = shutil.copy(copy.database_file, copy.database_file.with_name("other.duckdb"))
    for database, options in ((copy.database_file, spill), (renamed, {})):
        with pytest.raises(duckdb.Error, match=re.escape(str(filled.database_file))):
            texts_and_raters(database, **options)
    with duckdb.connect() as connection:
        for name, warehouse in (("own", filled), ("copied", copy)):
            connection.execute(f"attach '{warehouse.database_file}' as {name} (read_only)")
            if name == "own":
                assert connection.execute("select text from own.documents").fetchall() == [(TEXT,)]
        for table in ("own.documents", "copied.documents", "copied.labels", "own.document_counts"):
            with pytest.raises(duckdb.Error, match="or two homes are open"):
                connection.execute(f"from {table}").fetchall()


def test_database_file_in_a_folder_of_its_own_reads_the_home_it_was_made_for(
    filled: Warehouse, tmp_path
):
    cache = Warehouse(filled.folder, tmp_path / "cache" / "warehouse.duckdb")
    cache.prepare()
    assert texts_and_raters(cache.database_file) == ({TEXT}, {"Anna"})
    copied = shutil.copytree(tmp_path / "cache", tmp_path / "other") / "warehouse.duckdb"
    with pytest.raises(duckdb.Error, match=re.escape(str(cache.database_file))):
        texts_and_raters(copied)


def test_database_file_open_elsewhere_is_replaced_and_stays_readable(warehouse: Warehouse):
    warehouse.prepare()
    code = (
        "import sys, duckdb\n"
        "connection = duckdb.connect(sys.argv[1])\n"
        "print('open', flush=True)\n"
        "sys.stdin.readline()\n"
        "print(connection.execute('select count(*) from documents').fetchall(), flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(warehouse.database_file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "open\n"
        stamp = warehouse.database_file.with_name("warehouse.duckdb.views")
        stamp.write_text("older views")
        inode = warehouse.database_file.stat().st_ino
        warehouse.prepare()
        assert warehouse.database_file.stat().st_ino != inode
        put(warehouse, "documents")
        assert reader.communicate("go\n")[0] == "[(1,)]\n"


@pytest.mark.parametrize("content", [b"\xff", b"", b"older", None])
def test_a_damaged_stamp_of_the_database_file_is_written_anew(warehouse: Warehouse, content):
    warehouse.prepare()
    stamp = warehouse.database_file.with_name("warehouse.duckdb.views")
    written = stamp.read_bytes()
    stamp.write_bytes(bytes([written[0] ^ 0x80]) + written[1:] if content is None else content)
    warehouse.prepare()
    assert stamp.read_bytes() == written


def test_database_file_is_written_once_and_again_when_the_folder_moves(warehouse: Warehouse):
    warehouse.prepare()
    written = warehouse.database_file.stat().st_mtime_ns
    warehouse.prepare()
    assert warehouse.database_file.stat().st_mtime_ns == written
    moved = Warehouse(warehouse.folder.with_name("moved"), warehouse.database_file)
    moved.prepare()
    assert warehouse.database_file.stat().st_mtime_ns != written
