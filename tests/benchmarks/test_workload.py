"""Which documents are measured, and the invented results."""

import gzip
import json
from pathlib import Path

import pytest

from benchmarks.workload import (
    read_documents,
)
from tests.fakes import byte_tokenizer

TEXTS = ("no number", "1, 2,5 and 3", "1 2 3 4", "5 of 6, 7 of 8 and more", "9 10 11.5 12 13")


@pytest.fixture
def documents_file(tmp_path) -> Path:
    file = tmp_path / "web_docs.jsonl.gz"
    with gzip.open(file, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"text": text}) + "\n" for text in TEXTS)
    return file


def test_documents_are_the_first_with_four_numbers_cut_to_their_first_window(documents_file):
    documents = read_documents(documents_file, byte_tokenizer(), count=2, document_tokens=12)
    assert [document.document_id for document in documents] == ["document-2", "document-3"]
    assert documents[0].text == "1 2 3 4"
    assert TEXTS[3].startswith(documents[1].text)
    assert 9 <= len(documents[1].ids) <= 12
