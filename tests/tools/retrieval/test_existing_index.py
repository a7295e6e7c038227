"""Indexes of FAISS that were made elsewhere, with their passages in a file."""

import csv
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import polars as pl
import pytest

from tools.errors import ToolUnavailableError
from tools.protocol import Document
from tools.question_answering import QA
from tools.retrieval.existing_index import ExistingIndex
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


def write_index(file: Path, layout: str = "Flat", metric: int = faiss.METRIC_INNER_PRODUCT) -> Path:
    index = faiss.index_factory(256, layout, metric)
    index.train(vectors())  # pyright: ignore[reportCallIssue]
    index.add(vectors())  # pyright: ignore[reportCallIssue]
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


@pytest.fixture
def made(tmp_path: Path) -> ExistingIndex:
    index = write_index(tmp_path / "wiki.faiss")
    return existing(tmp_path, index, write_passages(tmp_path / "wiki.jsonl"))


@pytest.mark.parametrize("suffix", ["jsonl", "tsv", "parquet"])
@pytest.mark.parametrize(
    ("layout", "metric"),
    [
        ("Flat", faiss.METRIC_INNER_PRODUCT),
        ("Flat", faiss.METRIC_L2),
        ("IVF2,Flat", 0),
        ("HNSW8", 1),
    ],
)
def test_passages_are_ranked_by_their_vectors_whatever_the_files(tmp_path, suffix, layout, metric):
    index = write_index(tmp_path / "wiki.faiss", layout, metric)
    retriever = existing(tmp_path, index, write_passages(tmp_path / f"wiki.{suffix}"))
    retriever.check_available()
    question = "When did the canal open?"
    products = vectors() @ ENCODER.encode([question])[0]
    found, none = retriever.rank([question, ""], 10)
    assert none == []
    assert [hit["passage_id"] for hit in found] == [str(row) for row in np.argsort(-products)]
    first = found[0]
    assert {name: first[name] for name in ("title", "text", "url")} == {
        name: PASSAGES[1][name] for name in ("title", "text", "url")
    }
    # A reader weighs passages by differences of scores, which are those of the inner products.
    scores = np.array([hit["score"] for hit in found])
    expected = np.sort(products)[::-1] / 0.1
    assert scores - scores[0] == pytest.approx(expected - expected[0], abs=1e-4)
    assert len(retriever.rank([question], 2)[0]) == 2
