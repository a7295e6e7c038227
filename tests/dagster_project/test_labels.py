"""`toolformer labels`: from the draw over a filled sheet to the views."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.dagster_project.conftest import Run
from tests.homes import environment_of
from tests.warehouse.rows import CALL, put
from toolformer.home.home import Home
from warehouse.warehouse import Warehouse

# Reads one sheet after the other, so that each has other labels than the one before. As on NFS,
# appended bytes go to where the file ended when it was opened.
WRITER = """
import os, sys
from pathlib import Path
from dagster_project import cli
genuine = Path.open
def opened(path, mode="r", *others, **named):
    if "a" not in mode:
        return genuine(path, mode, *others, **named)
    path.touch()
    stream = genuine(path, "rb+", *others, **named)
    stream.seek(0, os.SEEK_END)
    return stream
Path.open = opened
print("ready", flush=True)
sys.stdin.readline()
for sheet in sys.argv[2:]:
    try:
        cli.main(["labels", "read", sheet, "--judge", sys.argv[1]])
    except SystemExit as ended:
        assert not ended.code
assert "torch" not in sys.modules
"""


@pytest.fixture
def sheet(run: Run, warehouse: Warehouse, tmp_path: Path) -> Path:
    calls = [CALL | {"call_id": f"c{number}", "position": number} for number in range(3)]
    put(warehouse, "augmented_texts", {"calls": calls})
    file = tmp_path / "sheet.csv"
    assert "has 3 of the 3 sampled calls" in run("labels", "draw", "--output", file).out
    return file


def fill(sheet: Path, label: str) -> Path:
    """Write a label into all rows but the first."""
    file = sheet.with_name(f"{label}.csv")
    head, first, *rows = sheet.read_text("utf-8-sig").splitlines()
    filled = [row.removesuffix('"",""') + f"{label},why" for row in rows]
    file.write_text("\n".join([head, first, *filled]))
    return file


def test_a_filled_sheet_reaches_the_views_once(run: Run, sheet: Path, tmp_path: Path):
    filled = fill(sheet, "Not useful")
    read = ("labels", "read", filled, "--judge", " Anna ")
    assert run(*read).out == "Judgements of Anna: 2 new, 0 unchanged, 1 empty.\n"
    assert run(*read).out == "Judgements of Anna: 0 new, 2 unchanged, 1 empty.\n"
    counted = run("sql", "--csv", "select tool, not_useful from label_precision limit 1")
    assert counted.out == "tool,not_useful\nCalculator,2\n"
    again = ("labels", "draw", "--judge", "Anna", "--output", tmp_path / "left.csv")
    assert "has 1 of the 3 sampled calls" in run(*again).out
    assert run("labels", "read", sheet, "--judge", " ").code == 2
    wrong = run("labels", "read", fill(sheet, "good"), "--judge", "Anna")
    assert wrong.is_one_paragraph_naming("Nothing is stored", "row 3 has the label 'good'")
    assert run(*again).is_one_paragraph_naming("already exists and may contain judgements")


def test_a_home_without_kept_calls_has_none_to_judge(
    run: Run, warehouse: Warehouse, tmp_path: Path
):
    drawn = run("labels", "draw", "--output", tmp_path / "sheet.csv")
    assert drawn.is_one_paragraph_naming("No call is kept yet. Run `toolformer build` first.")
    assert not (tmp_path / "sheet.csv").exists()


@pytest.mark.slow
def test_sheets_read_by_several_processes_at_once_are_all_kept(home: Home, sheet: Path):
    sheets = [str(fill(sheet, label)) for label in ("useful", "unsure")] * 5
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, judge, *sheets],
            cwd=REPOSITORY,
            env=environment_of(home.root),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for judge in ("Anna", "Cy", "Bo")
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    rows = Warehouse(home.warehouse, home.database).query("from labels")
    assert Counter(rows["rater"]) == {"Anna": 20, "Bo": 20, "Cy": 20}
    assert rows["label_id"].n_unique() == 60
