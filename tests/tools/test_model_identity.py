import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from toolformer.base.model_files import MIN_CALL_PROBABILITY_FILE
from tools.model_identity import model_identity


@pytest.fixture
def directory(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"layers": 2}')
    (folder / "tokenizer.json").write_text('{"vocabulary": ["a"]}')
    save_file({"weight": torch.zeros(2, 3)}, folder / "model.safetensors")
    return folder


def test_a_copy_is_the_same_model_however_it_is_decoded(directory, tmp_path):
    before = model_identity(directory)
    assert model_identity(Path(shutil.copytree(directory, tmp_path / "elsewhere"))) == before
    (directory / MIN_CALL_PROBABILITY_FILE).write_text("{}")
    (directory / MIN_CALL_PROBABILITY_FILE).write_text('{"other": 1}')
    assert model_identity(directory) == before


WEIGHTS = "model.safetensors"


@pytest.mark.parametrize(
    ("change", "is_another"),
    [
        (lambda folder: (folder / "README.md").write_text("A model."), False),
        (lambda folder: (folder / "config.json").write_text('{"layers": 3}'), True),
        (lambda folder: (folder / "toolformer.json").write_text("{}"), True),
        # Of the same size as those before.
        (lambda folder: save_file({"weight": torch.zeros(3, 2)}, folder / WEIGHTS), True),
        (lambda folder: save_file({"weight": torch.ones(2, 3)}, folder / WEIGHTS), True),
        (lambda folder: (folder / WEIGHTS).rename(folder / "other.safetensors"), True),
        (lambda folder: (folder / WEIGHTS).write_bytes(b""), True),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"\xff" * 20), True),
    ],
)
def test_what_changes_the_answers_makes_another_model(directory, change, is_another):
    before = model_identity(directory)
    change(directory)
    assert (model_identity(directory) != before) == is_another


@pytest.mark.parametrize(
    ("file", "is_another"), [("merges.txt", True), ("tokenizer.model", True), ("notes.txt", False)]
)
def test_files_of_a_tokenizer_count_where_it_is_read_from_them(directory, file, is_another):
    (directory / file).write_text("o ne")
    beside = model_identity(directory)
    (directory / file).write_text("on e")
    # What stands beside a tokenizer.json is not read.
    assert model_identity(directory) == beside
    (directory / "tokenizer.json").rename(directory / "tokenizer_config.json")
    before = model_identity(directory)
    (directory / file).write_text("o ne")
    assert (model_identity(directory) != before) == is_another


def test_a_single_weight_makes_another_model(directory):
    file = directory / WEIGHTS
    save_file({"weight": torch.zeros(2**20)}, file)
    before = model_identity(directory)
    with file.open("r+b") as stream:
        stream.seek(file.stat().st_size // 64 + 10_000)
        stream.write(b"\x01")
    assert model_identity(directory) != before
