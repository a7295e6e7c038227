"""Damaged partitions and judgements are findings."""

import json
from pathlib import Path

import pytest

from dagster_project.commands.doctor import Finding, examine_files
from tests.corpora import cut_corpus, write_texts
from tests.dagster_project.test_doctor import filled_warehouse, finding, truncate, works
from tests.warehouse.rows import LABEL
from toolformer.home.home import Home
from toolformer.sources.source import Source


def put_texts(home: Home, folder: Path, words: str) -> None:
    file = write_texts(folder / "texts.jsonl", [f"{word} day." for word in words.split()])
    cut_corpus(home, [Source(path=str(file), shard_size=1)])


@pytest.fixture
def home(tmp_path) -> Home:
    """A home with one active and one retired shard."""
    home = Home(tmp_path / "home")
    put_texts(home, tmp_path, "One Two")
    put_texts(home, tmp_path, "One")
    return home


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(file): (file.stat().st_mtime_ns, file.read_bytes())
        for file in folder.rglob("*")
        if file.is_file()
    }


def damaged(home: Home, *, is_full: bool = True) -> list[Finding]:
    return [each for each in examine_files(home, is_full=is_full) if each.files]


def test_a_sound_home_is_said_to_be_and_stays_as_it_is(home):
    before = tree(home.root)
    assert damaged(home) == damaged(home, is_full=False) == []
    assert tree(home.root) == before


def test_damaged_texts_come_back_when_their_source_is_cut_again(home, tmp_path):
    (path,) = (home.warehouse / "documents" / "shard=shard-00000").iterdir()
    truncate(path)
    (found,) = damaged(home)
    assert "the next build remakes them" in found.remedy
    path.unlink()
    assert "shard-00000" in finding(home, "manifest").detail
    put_texts(home, tmp_path, "One")
    assert works(home, "manifest")
    assert damaged(home) == []


def test_a_damaged_judgement_is_a_finding_that_no_advice_removes(home):
    file = home.root / "labels.jsonl"
    file.write_bytes(json.dumps(LABEL | {"label_id": "l1"}).encode() + b"\n{\n")
    (found,) = damaged(home, is_full=False)
    assert (found.name, found.files) == ("judgements", (str(file),))
    assert found.detail.startswith(f"'{file}' has damaged lines (1 in total): 2.")
    assert "emove" not in found.remedy


def test_partitions_of_any_size_are_read_in_full(home, monkeypatch):
    monkeypatch.setattr("dagster_project.commands.doctor._MAX_BYTES_READ", 0)
    filled_warehouse(home)
    path = next(home.warehouse.glob("documents/shard=shard-*/*.parquet"))
    truncate(path)
    assert damaged(home, is_full=False) == []
    (found,) = damaged(home)
    assert found.files == (str(path),)
