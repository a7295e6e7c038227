"""A tiny random encoder of Contriever's class."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, BertTokenizer

from tools.errors import ToolDiedError, ToolUnavailableError
from tools.retrieval.encoder import TextEncoder
from tools.retrieval.hybrid_ranking import PassageVectors
from tools.retrieval.passage_index import build_passage_index
from tools.retrieval.passages import Passage

TEXTS = [
    "Otters swim in a river and eat fish.",
    "The Suez canal opened in 1869.",
    "A river flows to the sea, past towns.",
    "Money.",
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    words = sorted(set(re.findall(r"\w+|[^\w\s]", " ".join(TEXTS).lower())))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    numbers = {word: number for number, word in enumerate(vocabulary)}
    BertTokenizer(vocab=numbers).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def encoder(directory: Path, **changes) -> TextEncoder:
    settings = {"similarity": "dot", "max_tokens": 64, "device": lambda: "cpu", **changes}
    return TextEncoder(directory, **settings)


def test_a_vector_is_the_mean_over_the_texts_own_tokens(directory, monkeypatch):
    made = encoder(directory)
    model, tokenizer = made._loaded
    vectors = made.encode(TEXTS)
    assert vectors.shape == (4, 16)
    monkeypatch.setattr("tools.retrieval.encoder._BATCH_SIZE", 2)
    assert np.allclose(vectors, encoder(directory).encode(TEXTS), atol=1e-5)
    for text, vector in zip(TEXTS, vectors, strict=True):
        with torch.inference_mode():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        assert np.allclose(vector, states.mean(dim=0).numpy(), atol=1e-5)
    cut = encoder(directory, max_tokens=5)
    assert np.array_equal(cut.encode(["river " * 3]), cut.encode(["river " * 300]))


@pytest.mark.parametrize(("part", "is_refused"), [("pooler.", False), ("layer.1.output.", True)])
def test_weights_that_vectors_are_made_of_are_there(directory, tmp_path, part, is_refused):
    folder = Path(shutil.copytree(directory, tmp_path / "encoder"))
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if part not in name}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    if is_refused:
        with pytest.raises(ToolUnavailableError, match=r"the weights lack 4 tensors.*layer\.1"):
            encoder(folder).encode(TEXTS)
    else:
        expected = encoder(directory).encode(TEXTS)
        assert np.allclose(encoder(folder).encode(TEXTS), expected, atol=1e-5)


def test_an_encoder_with_an_adapter_is_refused(directory, tmp_path):
    folder = Path(shutil.copytree(directory, tmp_path / "encoder"))
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(ToolUnavailableError, match="has an adapter"):
        encoder(folder).encode(TEXTS)


def test_an_encoder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ToolUnavailableError, match=r"there is no encoder in \S+none"):
        encoder(tmp_path / "none").encode(TEXTS)


def built(
    made: TextEncoder, folder: Path, progress: Callable[[int], object] = lambda _: None
) -> PassageVectors:
    passages = [Passage(str(number), "", "", text, "") for number, text in enumerate(TEXTS)]
    build_passage_index(
        passages, folder, made, fingerprint="x", wikipedia_index="w", progress=progress
    )
    return PassageVectors(folder, device=lambda: "cpu")


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_an_index_is_built_and_searched_with_it(directory, tmp_path, similarity):
    made = encoder(directory, similarity=similarity)
    question, found = built(made, tmp_path / "index").nearest(TEXTS[2], 4, (), wikipedia_index="w")
    assert similarity == "dot" or np.linalg.norm(question) == pytest.approx(1, abs=1e-5)
    scores = made.encode(TEXTS) @ made.encode([TEXTS[2]])[0]
    assert [int(name) for name in found] == np.argsort(-scores).tolist()
    assert question == pytest.approx(made.encode([TEXTS[2]])[0])


def test_an_index_is_of_the_encoder_that_it_was_begun_with(directory, tmp_path):
    copied = Path(shutil.copytree(directory, tmp_path / "copied"))
    weights = copied / "model.safetensors"
    another = {name: weight.flip(0) for name, weight in load_file(weights).items()}
    vectors = built(
        encoder(copied), tmp_path / "index", lambda _: save_file(another, weights, {"format": "pt"})
    )
    with pytest.raises(ToolUnavailableError, match="another encoder"):
        vectors.nearest(TEXTS[2], 4, (), wikipedia_index="w")


def test_another_encoder_in_its_place_makes_the_index_unavailable(directory, tmp_path):
    copied = Path(shutil.copytree(directory, tmp_path / "copied"))
    vectors = built(encoder(copied), tmp_path / "index")
    vectors.check_available()
    (copied / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ToolUnavailableError, match="another encoder"):
        vectors.check_available()
    with pytest.raises(ToolUnavailableError, match="cannot be loaded"):
        encoder(copied).encode(["x"])


def test_a_text_that_spells_a_special_token_is_fed_as_text(directory):
    made, fed = encoder(directory), []
    made._loaded[0].register_forward_pre_hook(
        lambda _, args, options: fed.append(options["input_ids"][0].tolist()), with_kwargs=True
    )
    made.encode(["A river [SEP] flows"])
    assert [ids.count(3) for ids in fed] == [1]


@pytest.mark.parametrize("where", ["to", "forward"])
def test_memory_that_runs_out_says_what_to_lower(directory, monkeypatch, where):
    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(BertModel, where, fail)
    with pytest.raises(ToolDiedError, match=r"Lower passage_index\.encoder_tokens"):
        encoder(directory).encode(TEXTS)


def test_a_folder_without_safetensors_is_no_encoder(directory, tmp_path):
    copied = Path(shutil.copytree(directory, tmp_path / "copied"))
    torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    with pytest.raises(ToolUnavailableError, match="no encoder"):
        encoder(copied).encode(["x"])
