"""The engine against plain transformers: each kind of vocabulary, and each kind of layer."""

import lzma
import shutil
from dataclasses import replace

import pytest
import torch

from benchmarks.models import network
from tests.fakes import TOKENIZERS, byte_tokenizer, tiny_model
from toolformer import model_check
from toolformer.forward.attention_masks import AttentionKinds, attention_window
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.tokenization import Tokenizer, load_tokenizer
from toolformer.model_check import check_model, faults

pytestmark = pytest.mark.filterwarnings("ignore")
# By what serves them: full attention; windows; states and keys; convolutions; states alone; masks
# of their own.
FAMILIES = {
    "qwen3": False,
    "gemma3_text": False,
    "gpt_oss": False,
    "qwen3_5_text": True,
    "lfm2": True,
    "mamba2": True,
    "bloom": True,
}


def of_family(family: str, tokenizer: Tokenizer) -> LanguageModel:
    size = max(tokenizer.backend.get_vocab().values()) + 1
    return LanguageModel(network(family, size), tokenizer, name=family)


def assert_equal(model: LanguageModel) -> None:
    check = check_model(model)
    assert faults(check, 1e-4) == [], check


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_every_kind_of_vocabulary_gives_the_numbers_of_plain_transformers(kind):
    assert_equal(tiny_model(tokenizer=TOKENIZERS[kind]()))


@pytest.mark.parametrize(("family", "is_plain"), FAMILIES.items())
def test_every_kind_of_layer_gives_the_numbers_of_plain_transformers(family, is_plain):
    model = of_family(family, byte_tokenizer())
    assert model.is_plain == is_plain
    assert_equal(model)


def test_logits_that_do_not_follow_from_the_last_states_are_those_of_plain_transformers():
    class Lifting(type(network("llama", byte_tokenizer().vocabulary_size))):
        def forward(self, input_ids=None, **others):
            outputs = super().forward(input_ids=input_ids, **others)
            lifted = 0.1 * (input_ids % 7)[:, -outputs.logits.shape[1] :, None]
            ranks = torch.arange(outputs.logits.shape[-1]) / outputs.logits.shape[-1]
            outputs.logits = outputs.logits + lifted * ranks
            return outputs

    built = network("llama", byte_tokenizer().vocabulary_size)
    built.__class__ = Lifting
    assert_equal(LanguageModel(built, byte_tokenizer(), name="lifting"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama2", "gemma3", "qwen3", "gptoss"])
def test_real_vocabularies_give_the_numbers_of_plain_transformers(name, test_data, tmp_path):
    source = test_data / "tokenizers" / name
    shutil.copy(source / "tokenizer_config.json", tmp_path)
    packed = (source / "tokenizer.json.xz").read_bytes()
    (tmp_path / "tokenizer.json").write_bytes(lzma.decompress(packed))
    assert_equal(of_family("qwen3", load_tokenizer(tmp_path)))


def test_texts_are_longer_than_the_window_of_attention():
    assert attention_window(of_family("gemma3_text", byte_tokenizer()).text_config) == 16
    assert attention_window(tiny_model().text_config) is None


def test_branches_that_see_each_other_are_found(monkeypatch):
    model, masks = tiny_model(), AttentionKinds.masks

    def see_all(self, visible, *others, **named):
        return masks(self, torch.ones_like(visible), *others, **named)

    monkeypatch.setattr(AttentionKinds, "masks", see_all)
    found = " ".join(faults(check_model(model), 1e-4))
    assert "samples" in found
    assert "inline losses" in found


def test_a_window_that_is_not_kept_is_found(monkeypatch):
    model = of_family("mistral", byte_tokenizer())
    monkeypatch.setattr(model, "kinds", AttentionKinds({"": None}))
    assert "inline losses" in " ".join(faults(check_model(model), 1e-4))


def test_a_prompt_without_its_start_token_is_found(monkeypatch):
    model = tiny_model(tokenizer=TOKENIZERS["pieces without prefix"]())
    monkeypatch.setattr(model, "prompt_start", [])
    assert "call probability" in faults(check_model(model), 1e-4)[0]


def test_a_call_that_never_opens_is_no_difference_unless_the_engine_opens_it(monkeypatch):
    model = tiny_model()
    (opening,) = model.tokenizer.encode(" [")
    head = model.model.get_output_embeddings()
    lowered = torch.zeros(head.out_features)
    # p_i is below 1e-30.
    lowered[opening] = -70.0
    head.register_forward_hook(lambda _module, _given, logits: logits + lowered)
    assert_equal(model)
    sampled = model_check.sample_calls
    monkeypatch.setattr(
        model_check,
        "sample_calls",
        lambda *given, **named: [
            replace(row, call_probability=1e-6) for row in sampled(*given, **named)
        ],
    )
    assert faults(check_model(model), 1e-4) == ["call probability 1e+06"]


def test_losses_of_other_states_are_found(monkeypatch):
    model, states = tiny_model(), LanguageModel.hidden_states
    monkeypatch.setattr(
        LanguageModel, "hidden_states", lambda *given, **named: 1.01 * states(*given, **named)
    )
    found = " ".join(faults(check_model(model), 1e-4))
    for name in ("losses", "inline losses", "training loss", "decoded"):
        assert name in found


def test_numbers_that_are_not_finite_are_no_agreement():
    nan = float("nan")
    assert faults({"samples": 0.0, "losses": nan}, 1.0) == ["losses nan"]
