"""The vectors of wordllama, with the package's own files."""

import importlib.util
import shutil
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from tools.errors import ToolUnavailableError
from tools.retrieval import word_vectors
from tools.retrieval.word_vectors import WordVectors

WEIGHTS = "weights/l2_supercat_256.safetensors"
TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"


@pytest.fixture
def copied(tmp_path, monkeypatch) -> Path:
    """The two files of the package in a folder of the test's own."""
    specification = importlib.util.find_spec("wordllama")
    assert specification is not None
    assert specification.submodule_search_locations is not None
    for name in (WEIGHTS, TOKENIZER):
        (tmp_path / name).parent.mkdir()
        shutil.copy(Path(specification.submodule_search_locations[0]) / name, tmp_path / name)
    copy = ModuleSpec("wordllama", None, is_package=True)
    copy.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(word_vectors.importlib.util, "find_spec", lambda _: copy)
    return tmp_path


def test_a_vector_is_the_mean_of_the_token_vectors_divided_by_its_length(copied: Path):
    text = "Otters eat fish."
    tokens = Tokenizer.from_file(str(copied / TOKENIZER)).encode(text, add_special_tokens=False)
    assert tokens.tokens == ["▁Ot", "ters", "▁eat", "▁fish", "."]
    mean = load_file(copied / WEIGHTS)["embedding.weight"][tokens.ids].astype(float).mean(axis=0)
    (vector,) = WordVectors().encode([text])
    assert vector.dtype == np.float32
    assert vector == pytest.approx(mean / np.sqrt((mean**2).sum()), abs=1e-6)


def test_a_vector_depends_on_its_own_text_alone():
    texts = ["Otters swim.", "", "The Suez canal opened in 1869. " * 60, "Money 😀"]
    vectors = WordVectors().encode(texts)
    assert vectors.shape == (4, 256)
    assert not vectors[1].any()
    for text, vector in zip(texts, vectors, strict=True):
        assert np.array_equal(WordVectors().encode([text])[0], vector)


def test_other_weights_are_another_encoder_and_a_missing_package_is_named(copied, monkeypatch):
    identity = WordVectors().identity
    content = bytearray((copied / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (copied / WEIGHTS).write_bytes(content)
    assert WordVectors().identity != identity
    monkeypatch.setattr(word_vectors.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ToolUnavailableError, match="pip install --no-deps wordllama"):
        _ = WordVectors().identity


def test_neither_the_package_nor_another_heavy_one_is_imported_before_it_is_needed():
    code = """
import sys, tools.retrieval.hybrid_ranking, tools.question_answering
from tools.retrieval.word_vectors import WordVectors
assert not {"faiss", "safetensors", "tokenizers", "torch"} & set(sys.modules)
WordVectors().encode(["x"])
assert "wordllama" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
