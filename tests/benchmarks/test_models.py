"""The table of models: its rows, what makes one wrong, and its exit code."""

import json
import lzma

import pytest

from benchmarks import models
from benchmarks.models import main, row_of, unpacked
from tests.fakes import byte_tokenizer
from toolformer.errors import ModelNotFoundError

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def vocabularies(tmp_path):
    """A folder with one vocabulary, packed."""
    folder = tmp_path / "vocabularies" / "bytes"
    byte_tokenizer().backend.save_pretrained(folder)
    plain = folder / "tokenizer.json"
    (folder / "tokenizer.json.xz").write_bytes(lzma.compress(plain.read_bytes()))
    plain.unlink()
    return folder.parent


@pytest.fixture
def folder(vocabularies, tmp_path):
    (tmp_path / "unpacked").mkdir()
    (unpacked_folder,) = unpacked(vocabularies, tmp_path / "unpacked")
    return unpacked_folder


@pytest.mark.parametrize("family", ["llama", "phi3"])
def test_a_row_is_equal_whether_its_model_is_loaded_from_a_folder_or_not(folder, family):
    row = row_of(family, folder)
    assert (row.vocabulary, row.path, row.problem, row.faults) == ("bytes", "shared keys", "", [])
    assert row.start_token == "<|endoftext|> not in prompts"


def test_a_refusal_is_no_fault_and_an_error_is(folder, monkeypatch):
    def refuse(*_):
        raise ModelNotFoundError("It is no model.")

    def fail(*_, **__):
        raise IndexError("list index out of range")

    monkeypatch.setattr(models, "check_model", fail)
    failed = row_of("qwen2", folder)
    monkeypatch.setattr(models, "_model", refuse)
    refused = row_of("qwen2", folder)
    assert (refused.problem, refused.faults) == ("refused: It is no model.", [])
    assert failed.faults == ["fails: IndexError: list index out of range"]


@pytest.mark.slow
def test_the_rows_are_written_down(vocabularies, tmp_path, monkeypatch):
    figures = tmp_path / "models.json"
    arguments = ["models", "--vocabularies", vocabularies, "--only", "opt", "--processes", 1]
    arguments += ["--json", figures]
    monkeypatch.setattr("sys.argv", [str(each) for each in arguments])
    assert main() == 0
    assert [row["architecture"] for row in json.loads(figures.read_text())["rows"]] == ["opt"]
