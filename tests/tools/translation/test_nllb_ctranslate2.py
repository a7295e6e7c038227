"""NLLB-200 by CTranslate2: the real package where it is installed, else what is asked of it."""

import importlib.machinery
import sys
from types import ModuleType, SimpleNamespace

import pytest

from tests.tools.translation.conftest import GERMAN, SPANISH
from tools.errors import ToolUnavailableError
from tools.machine_translation import MachineTranslation
from tools.protocol import Document

REQUESTS = [(text, Document("d", "")) for text in (*SPANISH, *GERMAN)]
TOKENS = 8


def tool(directory, **changes) -> MachineTranslation:
    return MachineTranslation(model_directory=directory, max_new_tokens=TOKENS, **changes)


@pytest.fixture(scope="module")
def converted(nllb_directory, tmp_path_factory):
    """The tiny model as CTranslate2's own command writes it."""
    pytest.importorskip("ctranslate2", reason="CTranslate2 is not installed, nor need it be")
    from ctranslate2.converters import (  # pyright: ignore[reportMissingImports]
        TransformersConverter,
    )

    directory = tmp_path_factory.mktemp("converted") / "model"
    files = ["tokenizer.json", "tokenizer_config.json"]
    TransformersConverter(str(nllb_directory), copy_files=files).convert(str(directory))
    return directory


@pytest.mark.parametrize("beams", [1, 4])
def test_ctranslate2_gives_the_translations_of_transformers(converted, nllb_directory, beams):
    by_ctranslate2 = tool(converted, beam_size=beams)
    by_ctranslate2.check_available()
    assert "backend=ctranslate2" in by_ctranslate2.version
    answers = by_ctranslate2.call_batch(REQUESTS)
    assert answers == tool(nllb_directory, beam_size=beams).call_batch(REQUESTS)
    alone = tool(converted, beam_size=beams, batch_size=1)
    assert answers == [alone.call(*request) for request in REQUESTS]


def test_damaged_weights_make_the_tool_unavailable(converted, tmp_path):
    for file in converted.iterdir():
        content = file.read_bytes()
        (tmp_path / file.name).write_bytes(content[:-100] if file.suffix == ".bin" else content)
    with pytest.raises(ToolUnavailableError, match="cannot be loaded"):
        tool(tmp_path).call(*REQUESTS[0])


class Stub:
    """Takes what CTranslate2's translator takes, and writes the input behind the prefix."""

    made: list = []  # noqa: RUF012

    def __init__(self, path, **options):
        self.options = {"path": path, **options}
        self.calls = []
        self.made.append(self)

    def translate_batch(self, texts, *, target_prefix, **options):
        self.calls.append((texts, target_prefix, options))
        return [
            SimpleNamespace(hypotheses=[[*prefix, *text[1:-1][::-1]]])
            for text, prefix in zip(texts, target_prefix, strict=True)
        ]


@pytest.fixture
def stub(monkeypatch, own_nllb):
    """A directory of converted weights, and a package that only looks like CTranslate2."""
    (own_nllb / "model.safetensors").unlink()
    (own_nllb / "model.bin").touch()
    package = ModuleType("ctranslate2")
    package.__spec__ = importlib.machinery.ModuleSpec("ctranslate2", None)
    package.Translator = Stub
    monkeypatch.setitem(sys.modules, "ctranslate2", package)
    monkeypatch.setattr(Stub, "made", [])
    return own_nllb


def test_what_is_asked_of_ctranslate2(stub):
    under_test = tool(stub, beam_size=4, device="cuda:1", precision="float16")
    answers = under_test.call_batch(REQUESTS)
    (translator,) = Stub.made
    assert translator.options == {
        "path": str(stub),
        "device": "cuda",
        "device_index": 1,
        "compute_type": "float16",
    }
    (spanish, prefixes, options), (german, _, _) = translator.calls
    assert {text[0] for text in spanish} == {"spa_Latn"}
    assert {text[0] for text in german} == {"deu_Latn"}
    assert {text[-1] for text in (*spanish, *german)} == {"</s>"}
    assert prefixes == [["eng_Latn"]] * len(SPANISH)
    assert options == {"beam_size": 4, "max_decoding_length": TOKENS, "max_input_length": 0}
    assert all(isinstance(answer, str) and "eng_Latn" not in answer for answer in answers)


def test_a_failure_of_ctranslate2_is_an_error_of_that_call(stub, monkeypatch):
    def fail(self, texts, **options):
        raise RuntimeError("no memory left")

    monkeypatch.setattr(Stub, "translate_batch", fail)
    answers = tool(stub).call_batch(REQUESTS[:2])
    assert [answer.reason for answer in answers] == ["translation_failed"] * 2
