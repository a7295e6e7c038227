"""Indexes of FAISS that were made elsewhere, with their passages in a file."""

import csv
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import polars as pl
import pyarrow
import pytest
from pyarrow import parquet

from tools.errors import ToolUnavailableError
from tools.protocol import Document
from tools.question_answering import QA
from tools.retrieval import index_folder
from tools.retrieval.existing_index import ExistingIndex
from tools.retrieval.retrieval_tool import Answer
from tools.retrieval.word_vectors import WordVectors

ENCODER = WordVectors()
PASSAGES = [
    {"id": "a", "title": "Otter", "text": 'Otters, "sea" ones too, swim.', "url": "http://o.org"},
    {"id": "b", "title": "Suez Canal", "text": "The canal opened for ships in 1869.", "url": ""},
    {"id": "c", "title": "Violin", "text": "A violin has four strings 😀.", "url": ""},
    {"id": "d", "title": "Bread", "text": "Bread is baked of flour and water.", "url": ""},
]


def vectors() -> np.ndarray:
    return ENCODER.encode([f"{each['title']}\n{each['text']}" for each in PASSAGES])


def write_index(file: Path, layout: str = "Flat", metric: int = 0, ids=None) -> Path:
    index: Any = faiss.index_factory(256, layout, metric)
    index.train(vectors())
    index.add(vectors()) if ids is None else index.add_with_ids(vectors(), np.array(ids))
    faiss.write_index(index, str(file))
    return file


def write_passages(file: Path) -> Path:
    if file.suffix == ".jsonl":
        file.write_text("".join(f"{json.dumps(each)}\n" for each in PASSAGES))
    elif file.suffix == ".tsv":
        with file.open("w", newline="") as stream:
            rows = csv.DictWriter(stream, ["id", "text", "title", "url"], delimiter="\t")
            rows.writeheader()
            rows.writerows(PASSAGES)
    else:
        pl.DataFrame(PASSAGES).write_parquet(file)
    return file


def existing(folder: Path, index: Path, passages: Path, encoder=ENCODER) -> ExistingIndex:
    return ExistingIndex(index, passages, encoder=encoder, folder=folder / "kept")


class FirstWords:
    """A reader that answers with the beginning of the best passage."""

    def version(self) -> str:
        return "first words"

    def prepare(self) -> None: ...

    def read(self, requests):
        return [Answer(" ".join(best["text"].split()[:3]), 1.0) for _, (best, *_) in requests]


@pytest.fixture
def made(tmp_path: Path) -> ExistingIndex:
    index = write_index(tmp_path / "wiki.faiss")
    return existing(tmp_path, index, write_passages(tmp_path / "wiki.jsonl"))


@pytest.mark.parametrize(
    ("layout", "metric", "ids", "suffix"),
    [
        ("Flat", faiss.METRIC_INNER_PRODUCT, None, "jsonl"),
        ("HNSW8", faiss.METRIC_L2, None, "tsv"),
        ("IDMap,Flat", faiss.METRIC_L2, range(4), "parquet"),
        ("L2norm,IDMap,Flat", faiss.METRIC_INNER_PRODUCT, range(4), "jsonl"),
        ("IVF2,Flat", faiss.METRIC_INNER_PRODUCT, range(4), "jsonl"),
    ],
)
def test_passages_are_ranked_by_their_vectors_whatever_the_files(
    tmp_path, suffix, layout, metric, ids
):
    index = write_index(tmp_path / "wiki.faiss", layout, metric, ids)
    retriever = existing(tmp_path, index, write_passages(tmp_path / f"wiki.{suffix}"))
    retriever.check_available()
    question = "When did the canal open?"
    products = vectors() @ ENCODER.encode([question])[0]
    found, none = retriever.rank([question, ""], 10)
    assert none == []
    assert [hit["passage_id"] for hit in found] == [str(row) for row in np.argsort(-products)]
    passage = {name: found[0][name] for name in ("title", "text", "url")}
    assert passage.items() <= PASSAGES[1].items()
    # A reader weighs passages by differences of scores, which are those of the inner products.
    scores = np.array([hit["score"] for hit in found])
    expected = np.sort(products)[::-1] / 0.1
    assert scores - scores[0] == pytest.approx(expected - expected[0], abs=1e-4)
    assert len(retriever.rank([question], 2)[0]) == 2


def test_a_text_is_not_answered_by_its_own_article_and_the_files_are_read_once(made, monkeypatch):
    tool = QA(made, FirstWords(), passages=1)
    question = "When did the canal open?"
    assert tool.call(question, Document("d", "A text.")) == "The canal opened"
    for own in (
        Document("d", "A text.", title="Suez Canal"),
        Document("d", "It is said that the canal opened for ships in 1869."),
    ):
        assert tool.call(question, own) != "The canal opened"
    # Another process takes the copy.
    monkeypatch.setattr(ExistingIndex, "_copy", lambda *_: pytest.fail("The files were read again"))
    again = existing(made._folder.parents[1], *made._files)
    assert again.version() == made.version()
    assert again.rank([question], 1) == made.rank([question], 1)


@pytest.mark.parametrize("changed", [0, 1])
def test_a_changed_file_is_another_version_and_one_that_is_copied_is_the_same(made, changed):
    (before,) = made.rank(["bread"], 1)
    version, file = made.version(), made._files[changed]
    shutil.copyfile(file, file.with_suffix(".copy"))
    file.with_suffix(".copy").replace(file)
    assert made.version() == version
    content = bytearray(file.read_bytes())
    # One letter, or one number of the first vector.
    content[content.index(b"Bread") if changed else 64] ^= 1
    file.write_bytes(content)
    assert made.version() != version
    (after,) = made.rank(["bread"], 1)
    assert after[0]["title"] == ("Cread" if changed else "Bread")
    assert before[0]["title"] == "Bread"


def test_files_that_are_replaced_while_they_are_opened_are_opened_again(
    made, tmp_path, monkeypatch
):
    (before,) = made.rank(["bread"], 1)
    check, others = index_folder.check_files, [PASSAGES[::-1]]

    def check_and_replace(*given):
        check(*given)
        for passages in others[:1]:
            others.clear()
            rows = ENCODER.encode([f"{each['title']}\n{each['text']}" for each in passages])
            index: Any = faiss.index_factory(256, "Flat", 0)
            index.add(rows)
            faiss.write_index(index, str(made._files[0]))
            made._files[1].write_text("".join(f"{json.dumps(each)}\n" for each in passages))

    monkeypatch.setattr(index_folder, "check_files", check_and_replace)
    (after,) = existing(tmp_path, *made._files).rank(["bread"], 1)
    assert others == []
    assert [hit["title"] for hit in before + after] == ["Bread", "Bread"]


def test_a_copy_that_nobody_used_for_a_month_goes(made, tmp_path):
    made.rank(["bread"], 1)
    os.utime(made._folder, (time.time() - 31 * 86400,) * 2)
    other = existing(tmp_path, made._files[0], write_passages(tmp_path / "other.jsonl"))
    other.rank(["bread"], 1)
    assert not made._folder.exists()
    assert other._folder.is_dir()


def test_a_damaged_copy_is_not_read(made):
    made.check_available()
    (copy,) = made._folder.glob("*.arrow")
    content = bytearray(copy.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    with pytest.raises(ToolUnavailableError, match=r"is damaged.*Remove .*makes it again"):
        made.rank(["bread"], 1)


BAD_FILES = {
    "count": (
        lambda at: append(at / "wiki.jsonl", '{"text": "One more."}\n'),
        r"wiki.jsonl has 5 passages \(0 without .*\), and \S+wiki.faiss has 4 vectors. Expected",
    ),
    "no text": (
        lambda at: (at / "wiki.jsonl").write_text('{"body": "Otters"}\n' * 4),
        r"has 4 passages \(4 without `text` or `contents`\)",
    ),
    "empty": (lambda at: (at / "wiki.jsonl").write_text(""), "has 0 passages"),
    "no JSON": (lambda at: (at / "wiki.jsonl").write_text("Otters\n"), "jsonl cannot be read \\("),
    "missing": (lambda at: (at / "wiki.jsonl").unlink(), "jsonl cannot be read \\(No such file"),
    "cut": (lambda at: os.truncate(at / "wiki.faiss", 999), "faiss cannot be opened \\(.*read"),
    "no index": (
        lambda at: (at / "wiki.faiss").write_text("An index."),
        r"cannot be opened \(Index type .* not recognized\)",
    ),
    "binary": (
        lambda at: faiss.write_index_binary(faiss.IndexBinaryFlat(64), str(at / "wiki.faiss")),
        "cannot be opened",
    ),
    "metric": (
        lambda at: write_index(at / "wiki.faiss", metric=faiss.METRIC_L1),
        "neither by inner product nor L2",
    ),
    "ids from 1": (
        lambda at: write_index(at / "wiki.faiss", "IDMap,Flat", ids=range(1, 5)),
        r"numbered as the rows, from 0",
    ),
    "ids behind another step": (
        lambda at: write_index(at / "wiki.faiss", "L2norm,IDMap,Flat", ids=range(1, 5)),
        r"numbered as the rows, from 0",
    ),
    "ids in cells": (
        lambda at: write_index(at / "wiki.faiss", "IVF2,Flat", ids=range(7, 11)),
        r"numbered as the rows, from 0",
    ),
    "dimension": (
        lambda at: faiss.write_index(plane_index(), str(at / "wiki.faiss")),
        r"wiki.faiss has vectors of 2 numbers, and the encoder wordllama gives 256",
    ),
}


def append(file: Path, line: str) -> None:
    with file.open("a") as stream:
        stream.write(line)


def plane_index() -> faiss.Index:
    index: Any = faiss.IndexFlatIP(2)
    index.add(np.zeros((4, 2), np.float32))
    return index


@pytest.mark.parametrize("name", BAD_FILES)
def test_files_that_cannot_be_used_are_refused_in_a_sentence(made, tmp_path, name):
    spoil, message = BAD_FILES[name]
    spoil(tmp_path)
    with pytest.raises(ToolUnavailableError, match=message) as caught:
        made.check_available()
    assert "question_answering.index_file" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_passages_in_a_damaged_parquet_file_are_read_or_refused(tmp_path):
    """One of these flipped bits, in the head of a page, ends the process where Polars reads."""
    index = write_index(tmp_path / "wiki.faiss")
    passages = write_passages(tmp_path / "wiki.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(PASSAGES), passages)
    start = parquet.read_metadata(passages).row_group(0).column(2).data_page_offset
    stored, refused = passages.read_bytes(), []
    for place in range(start, start + 16):
        passages.write_bytes(stored[:place] + bytes([stored[place] ^ 1]) + stored[place + 1 :])
        try:
            existing(tmp_path, index, passages).check_available()
        except ToolUnavailableError as error:
            refused.append(str(error))
    assert len(refused) > 3
    assert all("wiki.parquet" in each for each in refused)


def test_a_file_of_another_kind_is_refused(tmp_path):
    index = write_index(tmp_path / "wiki.faiss")
    passages = write_passages(tmp_path / "wiki.jsonl").rename(tmp_path / "wiki.txt")
    with pytest.raises(ToolUnavailableError, match=r"ends in none of \.jsonl, \.tsv and \.parquet"):
        existing(tmp_path, index, passages).check_available()
