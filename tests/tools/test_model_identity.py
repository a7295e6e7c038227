import shutil

import pytest
import torch
from safetensors.torch import save_file

from toolformer.files.beside_models import MIN_CALL_PROBABILITY_FILE
from toolformer.files.kept_digests import damaged_files, keep_digests
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


def save(**tensors):
    return lambda folder: save_file(tensors, folder / "model.safetensors")


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("change", "is_another"),
    [
        (write("README.md", b"A model."), False),
        (write("config.json", b'{"layers": 3}'), True),
        (write("toolformer.json", b"{}"), True),
        # Of the same size as those before.
        (save(weight=torch.zeros(3, 2)), True),
        (save(weight=torch.ones(2, 3)), True),
        (lambda folder: (folder / "model.safetensors").rename(folder / "other.safetensors"), True),
        (lambda folder: save_file({"bias": torch.zeros(1)}, folder / "more.safetensors"), True),
        (write("model.safetensors", b""), True),
        (write("model.safetensors", b"\xff" * 20), True),
    ],
)
def test_what_changes_the_answers_makes_another_model(directory, change, is_another):
    before = model_identity(directory)
    change(directory)
    assert (model_identity(directory) != before) == is_another
    assert model_identity(directory)


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
