"""Which documents are measured, and the invented results."""

import gzip
import json
from pathlib import Path

import pytest

from benchmarks.workload import (
    default_documents_file,
    invented_result,
    paper_workloads,
    read_documents,
)
from tests.fakes import byte_tokenizer
from tools.syntax import clean_result

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


def test_too_few_documents_are_told(documents_file):
    with pytest.raises(SystemExit, match="holds 3 texts with at least 4 numbers; 4 are needed"):
        read_documents(documents_file, byte_tokenizer(), count=4, document_tokens=12)


def test_documents_are_found_through_the_manifest(tmp_path, monkeypatch):
    (tmp_path / "manifest.json").write_text(
        json.dumps({"files": [{"file": "a"}, {"file": "text/b.gz", "family": "web_docs"}]})
    )
    monkeypatch.setenv("TOOLFORMER_TEST_DATA", str(tmp_path))
    assert default_documents_file() == tmp_path / "text/b.gz"


def test_a_manifest_without_web_documents_is_told(tmp_path, monkeypatch):
    (tmp_path / "manifest.json").write_text(json.dumps({"files": []}))
    monkeypatch.setenv("TOOLFORMER_TEST_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match="no file of the family 'web_docs'"):
        default_documents_file()


def test_without_test_data_the_starter_texts_are_enough(monkeypatch):
    monkeypatch.delenv("TOOLFORMER_TEST_DATA", raising=False)
    file = default_documents_file()
    assert len(read_documents(file, byte_tokenizer(), count=64, document_tokens=64)) == 64


@pytest.mark.parametrize("tool_name", ["WikiSearch", "Calculator"])
def test_results_depend_on_the_arguments_alone_and_hold_no_marker(tool_name):
    result = invented_result(tool_name, "6 * 7")
    assert result == invented_result(tool_name, "6 * 7") != invented_result(tool_name, "6 * 8")
    assert clean_result(result) == result


def test_the_measured_tools_have_the_settings_of_the_paper():
    settings = [
        (tool.name, tool.positions_per_text, tool.calls_per_position, tool.filtering_threshold)
        for tool in paper_workloads()
    ]
    assert settings == [("WikiSearch", 5, 5, 1.0), ("Calculator", 20, 10, 0.5)]
