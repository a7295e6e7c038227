import shutil

import pytest
import torch
from safetensors.torch import save_file

from toolformer.ground.beside_models import MIN_CALL_PROBABILITY_FILE
from toolformer.ground.kept_digests import damaged_files, keep_digests
from tools.model_identity import model_identity


@pytest.fixture
def directory(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"layers": 2}')
    (folder / "tokenizer.json").write_text('{"vocabulary": ["a"]}')
    save_file({"weight": torch.zeros(2, 3)}, folder / "model.safetensors")
    return folder


def test_a_copy_is_the_same_model(directory, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(directory, copy)
    assert model_identity(copy) == model_identity(directory)


def test_how_a_model_is_decoded_makes_it_no_other_model(directory):
    before = model_identity(directory)
    keep_digests(directory)
    (directory / MIN_CALL_PROBABILITY_FILE).write_text("{}")
    count = keep_digests(directory)
    (directory / MIN_CALL_PROBABILITY_FILE).write_text('{"other": 1}')
    assert model_identity(directory) == before
    assert count == 3
    assert damaged_files(directory) == {}


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "toolformer.json"])
def test_another_json_file_is_another_model(directory, name):
    before = model_identity(directory)
    (directory / name).write_text('{"layers": 3}')
    assert model_identity(directory) != before


def test_other_tensors_of_equal_size_are_another_model(directory):
    before = model_identity(directory)
    size = (directory / "model.safetensors").stat().st_size
    save_file({"weight": torch.zeros(3, 2)}, directory / "model.safetensors")
    assert (directory / "model.safetensors").stat().st_size == size
    assert model_identity(directory) != before


def test_another_name_or_part_of_the_weights_is_another_model(directory):
    before = model_identity(directory)
    (directory / "model.safetensors").rename(directory / "model-1.safetensors")
    renamed = model_identity(directory)
    save_file({"bias": torch.zeros(1)}, directory / "model-2.safetensors")
    assert len({before, renamed, model_identity(directory)}) == 3


def test_files_that_do_not_change_the_model_do_not_count(directory):
    before = model_identity(directory)
    (directory / "README.md").write_text("A model.")
    assert model_identity(directory) == before


def test_other_weights_of_equal_shapes_are_another_model(directory):
    before = model_identity(directory)
    save_file({"weight": torch.ones(2, 3)}, directory / "model.safetensors")
    assert model_identity(directory) != before


def test_of_large_files_a_part_is_read(directory):
    file = directory / "model.safetensors"
    save_file({"weight": torch.zeros(2**20)}, file)
    before = model_identity(directory)
    # A single weight, between two blocks that are read.
    with file.open("r+b") as stream:
        stream.seek(file.stat().st_size // 64 + 10_000)
        stream.write(b"\x01")
    assert model_identity(directory) == before
    save_file({"weight": torch.ones(2**20)}, file)
    assert model_identity(directory) != before


@pytest.mark.parametrize("content", [b"", b"\x01", b"\xff" * 8, b"\xff" * 20])
def test_a_truncated_weight_file_still_has_an_identity(directory, content):
    before = model_identity(directory)
    (directory / "model.safetensors").write_bytes(content)
    assert model_identity(directory) not in ("", before)
