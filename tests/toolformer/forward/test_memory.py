"""What memory models need by their configurations, and those that have no room."""

import json
import platform
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.fakes import byte_tokenizer, save_tiny_model, tiny_model
from toolformer.errors import ModelNotFoundError, OutOfMemoryError
from toolformer.forward import memory
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.memory import (
    GIB,
    available_memory,
    check_training_fits,
    machine_memory,
    memory_needed,
    release_memory,
)

# Published sizes: architecture, what config.json says, billions of weights.
MODELS = {
    "Qwen3-14B": (
        {
            "model_type": "qwen3",
            "hidden_size": 5120,
            "intermediate_size": 17408,
            "num_hidden_layers": 40,
            "num_attention_heads": 40,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151936,
            "tie_word_embeddings": False,
        },
        14.8,
    ),
    "Llama-2-7b": (
        {
            "model_type": "llama",
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "vocab_size": 32000,
            "tie_word_embeddings": False,
        },
        6.7,
    ),
    "gpt-j-6b": (
        {"model_type": "gptj", "n_embd": 4096, "n_layer": 28, "n_head": 16, "vocab_size": 50400},
        6.1,
    ),
    "Mixtral-8x7B": (
        {
            "model_type": "mixtral",
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "num_local_experts": 8,
            "vocab_size": 32000,
        },
        46.7,
    ),
}


def directory(folder: Path, name: str) -> Path:
    """A model directory whose weights nobody can read."""
    path = folder / name
    byte_tokenizer().backend.save_pretrained(path)
    (path / "config.json").write_text(json.dumps(MODELS[name][0]))
    (path / "model.safetensors").write_bytes(b"not read")
    return path


def machine(monkeypatch: pytest.MonkeyPatch, gibibytes: float, *, total: int = 32) -> None:
    found = SimpleNamespace(total=total * GIB, available=int(gibibytes * GIB))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: found)


@pytest.mark.parametrize("name", MODELS)
def test_what_a_model_needs_follows_from_its_configuration(tmp_path, name: str):
    path, billions = directory(tmp_path, name), MODELS[name][1]
    for precision, size in (("float32", 4), ("bfloat16", 2), ("float16", 2)):
        needed = memory_needed(path, precision=precision)
        assert needed.parameters / 1e9 == pytest.approx(billions, rel=0.01)
        assert needed.weights == size * needed.parameters
        assert 0 < needed.annotating - needed.weights < 3 * GIB
        assert needed.training_state == 16 * needed.parameters < needed.training
        small = memory_needed(path, precision=precision, lora_rank=8, gradient_checkpointing=True)
        assert needed.weights < small.training_state < 1.1 * needed.weights
        assert small.training < needed.training / 3


@pytest.mark.parametrize(
    ("name", "gibibytes", "precision", "said"),
    [
        ("Qwen3-14B", 24, "float32", r"14\.8 billion.*55\.0 GiB in float32.*24\.0 GiB.*smaller"),
        ("Qwen3-14B", 24, "bfloat16", r"27\.5 GiB in bfloat16.*24\.0 GiB.*smaller model"),
        ("Qwen3-14B", 30, "float32", r"27\.5 in 16 bits.*smaller model"),
        ("Llama-2-7b", 12, "float16", r"12\.6 GiB in float16"),
        ("gpt-j-6b", 16, "float32", r"6\.1 billion.*smaller model"),
        ("Mixtral-8x7B", 24, "bfloat16", r"46\.7 billion.*smaller model"),
    ],
)
def test_a_model_without_room_is_refused_before_its_weights_are_read(
    tmp_path, monkeypatch, name: str, gibibytes: float, precision: str, said: str
):
    machine(monkeypatch, gibibytes)
    with pytest.raises(OutOfMemoryError, match=said):
        LanguageModel.load(directory(tmp_path, name), precision=precision, device="cpu")


def test_a_model_of_fewer_bits_a_weight_needs_what_its_files_hold(tmp_path):
    path = directory(tmp_path, "Llama-2-7b")
    config = {**MODELS["Llama-2-7b"][0], "quantization_config": {"quant_method": "gptq", "bits": 4}}
    (path / "config.json").write_text(json.dumps(config))
    assert memory_needed(path, precision="bfloat16").weights == len(b"not read")


def test_a_gpu_has_what_is_free_and_what_the_allocator_holds_unused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 7 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2 * GIB)
    assert available_memory("cuda:1") == 8 * GIB
    assert available_memory(torch.device("meta")) is None


@pytest.mark.parametrize(
    ("files", "total", "available"),
    [
        ({}, 32, 20),
        ({"memory.max": "max", "memory.current": GIB}, 32, 20),
        ({"memory.max": 64 * GIB, "memory.current": GIB, "memory.stat": "file 9"}, 32, 20),
        # What was read of files counts as used, and gives way.
        (
            {
                "memory.max": 8 * GIB,
                "memory.current": 6 * GIB,
                "memory.stat": f"anon {2 * GIB}\nfile {4 * GIB}\nfile_mapped 9",
            },
            8,
            6,
        ),
        ({"memory.max": 8 * GIB, "memory.current": 9 * GIB, "memory.stat": "file 9"}, 8, 0),
    ],
)
def test_a_container_has_no_more_than_its_limit(
    tmp_path, monkeypatch, files: dict, total: int, available: int
):
    machine(monkeypatch, 20)
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    for name, content in files.items():
        (tmp_path / name).write_text(f"{content}\n")
    assert machine_memory() == (total * GIB, available * GIB)


@pytest.mark.parametrize(
    ("name", "lora_rank", "shares", "gibibytes", "said"),
    [
        ("Qwen3-14B", None, 1, 24, r"14\.8 billion.*at least 220\.1 GiB.*24\.0 GiB.*a smaller"),
        ("Qwen3-14B", None, 1, 31, r"220\.1 GiB.*training\.lora_rank \(28\.5 GiB with 16\)"),
        ("Qwen3-14B", 64, 1, 24, r"adapters of rank 64.*smaller model"),
        ("gpt-j-6b", None, 1, 24, r"training\.lora_rank"),
        ("Llama-2-7b", None, 2, 30, r"100\.4 GiB"),
        ("Llama-2-7b", None, 4, 30, None),
        ("Llama-2-7b", 8, 1, 14, None),
    ],
)
def test_training_without_room_is_refused_before_anything_is_read(
    tmp_path, monkeypatch, name, lora_rank, shares, gibibytes, said
):
    machine(monkeypatch, gibibytes)
    path = directory(tmp_path, name)
    options = {"precision": "bfloat16", "device": "cpu", "lora_rank": lora_rank, "shares": shares}
    if said is None:
        check_training_fits(path, **options)
        return
    with pytest.raises(OutOfMemoryError, match=said):
        check_training_fits(path, **options)


# While it is loaded


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("unable to mmap 9000 bytes from file: Cannot allocate memory (12)"),
        MemoryError(),
    ],
)
@pytest.mark.parametrize("where", ["to", "forward"])
def test_memory_that_runs_out_while_a_model_is_loaded_is_one_sentence(
    tmp_path, monkeypatch, where: str, error: Exception
):
    """As it is moved to the device, and in the passes that try it."""
    path = save_tiny_model(tmp_path / "tiny")

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(type(tiny_model().model), where, fail)
    with pytest.raises(OutOfMemoryError, match=r"'tiny' does not fit .*Use a smaller"):
        LanguageModel.load(path, device="cpu")


# Weights and vocabulary of other sizes


@pytest.mark.parametrize("rows", [1, 100_000])
@pytest.mark.parametrize("prefix", ["model.", ""])
def test_weights_of_another_vocabulary_are_refused(tmp_path, rows: int, prefix: str):
    path = save_tiny_model(tmp_path / "tiny")
    weights = load_file(path / "model.safetensors")
    del weights["model.embed_tokens.weight"]
    weights[f"{prefix}embed_tokens.weight"] = torch.zeros(rows, 32)
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    size = byte_tokenizer().vocabulary_size
    said = (
        rf"embed_tokens\.weight has shape \[{rows}, 32\], but config\.json implies \[{size}, 32\]"
    )
    with pytest.raises(ModelNotFoundError, match=said):
        LanguageModel.load(path, device="cpu")


@pytest.mark.parametrize("missing", [1, 8, 200])
def test_a_tokenizer_of_more_tokens_is_refused_before_weights_are_read(
    tmp_path, monkeypatch, missing: int
):
    path = save_tiny_model(tmp_path / "tiny")
    size = byte_tokenizer().vocabulary_size
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "vocab_size": size - missing}))
    (path / "model.safetensors").write_bytes(b"not read")
    said = rf"a token with id {size - 1} .*the model has only {size - missing}"
    with pytest.raises(ModelNotFoundError, match=said):
        LanguageModel.load(path, device="cpu")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked for memory")
def test_what_was_freed_between_things_in_use_is_given_back():
    # Each too small to be taken from the system by itself.
    blocks = [torch.ones(2**14) for _ in range(4000)]
    del blocks[::2]
    process = psutil.Process()
    before = process.memory_info().rss
    release_memory()
    given_back = before - process.memory_info().rss
    assert given_back >= 0.9 * 2000 * blocks[0].nbytes
