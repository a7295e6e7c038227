"""What `toolformer ingest` could not read is told, stored and shown."""

import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from dagster_project.runs.run_job import dagster_instance
from toolformer.home.home import Home
from toolformer.home.report.contents import contents_of
from toolformer.settings.settings_file import load_settings
from warehouse.warehouse import Warehouse

pytestmark = pytest.mark.slow

ROWS = [
    {"text": "One text.", "date": "soon", "id": 1, "meta": {"lang": "en"}},
    {"text": "Two texts.", "date": "2013-09-18", "url": 4, "id": 2},
    {"text": "Three\x00 texts.", "date": 1379462400, "id": 3},
]
LOST = {
    "dates that could not be read": 1,
    "addresses and titles that could not be read": 1,
    "texts with characters that were removed or could not be decoded": 1,
    "columns that are not read: id, meta": 2,
}


@pytest.fixture
def texts(tmp_path) -> Path:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_losses_are_printed_stored_and_shown(run, home: Home, texts: Path):
    code, out, err = run("ingest", texts)
    assert code == 0, err
    assert "Records read: 3, usable: 3." in out
    for words, count in LOST.items():
        (line,) = [line for line in out.splitlines() if words in line]
        assert str(count) in line
    warehouse = Warehouse(home.warehouse, home.database)
    rows = warehouse.query("select source, kind, name, count from reading_losses order by all")
    assert rows.rows() == [
        (str(texts), "addresses", "", 1),
        (str(texts), "dates", "", 1),
        (str(texts), "encodings", "", 1),
        (str(texts), "unread_columns", "id", 3),
        (str(texts), "unread_columns", "meta", 1),
    ]
    with dagster_instance(home) as instance:
        for asset in ("documents", "corpus_manifest"):
            event = instance.get_latest_materialization_event(dg.AssetKey(asset))
            assert event is not None
            assert event.asset_materialization is not None
            shown = event.asset_materialization.metadata
            assert {words: shown[words].value for words in LOST} == LOST
    settings = load_settings(home.settings_file)
    assert dict(contents_of(warehouse, settings).losses) == LOST


def test_marks_that_are_taken_out_are_kept_beside_the_texts(run, home: Home, tmp_path):
    path = tmp_path / "a.jsonl"
    call = "2 * 3 = [Calculator(2 * 3) -> 6] 6"
    lines = ["48/2 = <<48/2=24>>24 jars, <<24+24=48>>48.", "None.", "5n = <<5*n=30>>30", call]
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    code, out, err = run("ingest", path, "--strip-marks")
    assert code == 0, err
    assert "text_marks: 2 annotated calculations and 1 tool calls" in out
    (line,) = [line for line in out.splitlines() if "could not be read and stay" in line]
    assert "1" in line
    rows = Warehouse(home.warehouse, home.database).query(
        "select number, substring(text, character_offset + 1, 2) as shown, expression, result, "
        "called_tool from text_marks join documents using (document_id, shard) "
        "order by source_offset, number"
    )
    assert rows.rows() == [
        *((0, "24", "48/2", "24", None), (1, "48", "24+24", "48", None)),
        (0, " 6", "2 * 3", "6", "Calculator"),
    ]
    other = tmp_path / "b.jsonl"
    other.write_text('{"text": "Without."}\n')
    assert "text_marks: 0 annotated calculations" in run("ingest", other, "--strip-marks").out
    assert "calculation" not in run("ingest", other).out


def test_nothing_is_said_where_nothing_was_lost(run, home: Home, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "One text.", "url": "https://a.org", "date": "2013-09-18"}\n')
    code, out, _ = run("ingest", path)
    assert code == 0
    assert out.splitlines()[-1] == "Records read: 1, usable: 1."


def test_each_source_has_a_table_of_its_own(run, home: Home, texts: Path, tmp_path):
    other = tmp_path / "b.jsonl"
    other.write_text('{"text": "One text.", "score": 4}\n')
    code, out, err = run("ingest", texts, other)
    assert code == 0, err
    assert f"possible problems: {texts}" in out
    assert out.index(f"possible problems: {other}") < out.index("columns that are not read: score")


def test_a_file_whose_name_is_no_utf8_is_ingested_or_refused_in_words(home: Home, tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    name = os.fsdecode(bytes(folder) + b"/caf\xe9.jsonl")
    Path(name).write_text('{"text": "One text."}\n')
    for given, code, said in (
        (name, 1, "is not UTF-8"),
        (str(folder), 0, "Records read: 1, usable: 1."),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "dagster_project.cli", "ingest", given],
            capture_output=True,
            check=False,
        )
        told = (done.stdout + done.stderr).decode()
        assert done.returncode == code, told
        assert said in told
        assert "Traceback" not in told
