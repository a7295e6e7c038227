import gc
import json
import math
import shutil
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM, MptConfig, RecurrentGemmaConfig

from tests.fakes import END, START, byte_tokenizer, tiny_model
from tests.toolformer.architectures import windows_of
from toolformer import reference
from toolformer.errors import ModelNotFoundError
from toolformer.forward.devices import resolve_device
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.model import TextPosition
from toolformer.forward.prefill import rows_before_texts
from toolformer.forward.tokenization import Tokenizer
from toolformer.scoring.losses import token_losses

PROMPT = "Calls.\nIn: {text}\nOutput:"


@pytest.fixture
def directory(tiny_directory, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_directory, tmp_path / "model"))


def load(directory, **changes) -> LanguageModel:
    return LanguageModel.load(directory, **{"precision": "float32", "device": "cpu", **changes})


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_saved_model_computes_as_before(llama, tiny_directory, precision):
    loaded = load(tiny_directory, precision=precision)
    ids = torch.tensor([loaded.tokenizer.encode("Six times seven is 42.")])
    with torch.inference_mode():
        logits = loaded.logits(loaded.hidden_states(ids))
        assert logits.dtype == torch.float32
        if precision == "float32":
            torch.testing.assert_close(logits, llama.logits(llama.hidden_states(ids)))
    assert (loaded.name, loaded.precision) == ("tiny-llama", precision)
    assert (loaded.device.type, loaded.context_length, loaded.bos_id) == ("cpu", 512, 0)
    assert not loaded.model.training


def test_losses_beside_a_base_model_are_the_literal_sums(llama, monkeypatch):
    monkeypatch.setattr("toolformer.forward.network.LOGIT_ROWS", 3)
    base = tiny_model(seed=7)
    texts = [llama.tokenizer.encode(text) for text in ("Six times seven is 42.", "A mill", "", "B")]
    found = llama.losses_and_divergences(base, texts)
    assert [(len(a), len(b)) for a, b in found] == [(len(ids), len(ids)) for ids in texts]
    assert [losses for losses, _ in found] == token_losses(llama, texts)
    for ids, (_, divergences) in zip(texts, found, strict=True):
        for place, divergence in enumerate(divergences):
            q, p = (
                reference.next_token_log_probabilities(model, [0, *ids[:place]]).double()
                for model in (llama, base)
            )
            expected = float((p.exp() * (p - q)).sum())
            assert divergence == pytest.approx(expected, abs=1e-5)
            assert divergence > 0.01
    ((_, divergences),) = llama.losses_and_divergences(llama, texts[:1])
    assert divergences == [0.0] * len(texts[0])


def test_a_banned_token_has_no_chance_and_the_others_have_its_probability(llama):
    texts = [llama.tokenizer.encode(text) for text in ("Six times seven is 42.", "A mill")]
    banned = texts[0][1]
    found = token_losses(llama, texts, banned=banned)
    beside = llama.losses_and_divergences(tiny_model(seed=7), texts, banned=banned)
    assert [losses for losses, _ in beside] == found
    for ids, losses in zip(texts, found, strict=True):
        for place, (token, loss) in enumerate(zip(ids, losses, strict=True)):
            of_all = reference.next_token_log_probabilities(llama, [0, *ids[:place]]).tolist()
            rest = math.inf if token == banned else math.log1p(-math.exp(of_all[banned]))
            assert loss == pytest.approx(rest - of_all[token], abs=1e-5)


def test_the_divergence_of_three_tokens_is_what_is_worked_out_by_hand(monkeypatch):
    """p = (1/2, 1/4, 1/4) beside q = (1/4, 1/4, 1/2): 1/2 log 2 - 1/4 log 2."""
    networks = [tiny_model(), tiny_model()]
    for network, shares in zip(networks, ((1, 1, 2), (2, 1, 1)), strict=True):
        logits = torch.full((network.text_config.vocab_size,), -100.0)
        logits[:3] = torch.tensor([math.log(share / 4) for share in shares])
        monkeypatch.setattr(network, "logits", lambda s, one=logits: one.expand(len(s), -1))
    model, base = networks
    (((loss,), (divergence,)),) = model.losses_and_divergences(base, [[2]])
    assert loss == pytest.approx(math.log(2))
    assert divergence == pytest.approx(0.25 * math.log(2))


def test_body_and_output_layer_give_what_the_whole_model_gives(each_model):
    ids = torch.tensor([each_model.tokenizer.encode("Six times seven."), [5] * 16])
    with torch.inference_mode():
        apart = each_model.logits(each_model.hidden_states(ids))
        whole = each_model.model(input_ids=ids, use_cache=False).logits
    assert apart.dtype == torch.float32
    torch.testing.assert_close(apart, whole, atol=1e-5, rtol=1e-5)


def test_passes_of_several_threads_give_what_each_gives_alone(each_model):
    """A tool's call that came too late goes on in its thread, beside those that follow it."""
    rows = [[1, 2, 3, 4, 5], [1, 7, 8, 9], [1, 4, 4, 2, 9, 3]]
    places = [(0, 2, 3), (1, 1, 8), (2, 4, 3)]

    def feed(turn: int) -> tuple[list[float], torch.Tensor]:
        count = turn % 3 + 1
        with torch.inference_mode():
            logits = each_model.logits(each_model.hidden_states(torch.tensor(rows[:1])))
        return each_model.losses_at(rows[:count], places[:count]), logits

    before = each_model.tokens_fed
    alone = [feed(turn) for turn in range(3)]
    fed_once = each_model.tokens_fed - before
    with ThreadPoolExecutor(3) as pool:
        for turn, (losses, logits) in enumerate(pool.map(feed, range(60))):
            assert losses == alone[turn % 3][0]
            assert torch.equal(logits, alone[turn % 3][1])
    # None of the counts got lost.
    assert each_model.tokens_fed - before == 21 * fed_once


QUANTIZED = {"quant_method": "bitsandbytes", "load_in_4bit": True}


def set_config(directory, changes):
    changed_json(directory / "config.json", lambda config: config.update(changes))


def changed_json(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def without(directory, pattern):
    for file in directory.glob(pattern):
        file.unlink()


def cut_weights(directory, kept_bytes):
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept_bytes])


def changed_weights(directory, change):
    weights = load_file(directory / "model.safetensors")
    change(weights)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def changed_tokenizer(directory, change):
    changed_json(directory / "tokenizer.json", change)


def put_beside(directory, content):
    """A second weight file: this content, or the first one without its end."""
    first = (directory / "model.safetensors").read_bytes()
    (directory / "second.safetensors").write_bytes(first[:-1] if content is None else content)


def put_adapter_beside(directory, _):
    (directory / "adapter_config.json").write_text('{"peft_type": "LORA"}')


def further_layer(weights):
    return {
        name.replace(".1.", ".2."): weight.clone()
        for name, weight in weights.items()
        if "layers.1." in name
    }


def without_prefix(weights):
    return {"layers.7.mlp.up_proj.weight": weights["model.layers.1.mlp.up_proj.weight"].clone()}


@pytest.mark.parametrize(
    ("damage", "argument", "named"),
    [
        (without, "config.json", "config"),
        (without, "tokenizer*.json", "tokenizer"),
        # Of what is missing besides transformers says nothing then.
        (put_adapter_beside, None, "Merge the adapter"),
        # Pickled ones are never opened.
        (without, "*.safetensors", "weights"),
        (cut_weights, 0, "loaded"),
        (cut_weights, 4, "loaded"),
        (cut_weights, 20_000, "loaded"),
        (changed_weights, lambda w: w["model.norm.weight"].fill_(math.nan), "finite"),
        (changed_weights, lambda w: w.pop("model.layers.1.mlp.up_proj.weight"), "up_proj"),
        (changed_tokenizer, lambda t: t["model"]["merges"].append(["Q", "none"]), "tokenizer"),
        (changed_tokenizer, lambda t: t["model"].update(vocab=None), "tokenizer"),
        (set_config, {"model_type": "martian"}, "martian"),
        (set_config, {"hidden_size": None}, "hidden_size"),
        (set_config, {"num_attention_heads": 5}, "heads"),
        (set_config, {"num_hidden_layers": 0}, "num_hidden_layers"),
        (set_config, {"intermediate_size": 48}, "mlp"),
        # Weights that are there, and that the model would do without.
        (set_config, {"num_hidden_layers": 1}, r"layers\.1\..*9 in all.*with 1 layers"),
        (changed_weights, lambda w: w.update(further_layer(w)), r"layers\.2\..*with 2 layers"),
        (changed_weights, lambda w: w.update(without_prefix(w)), r"layers\.7\.mlp"),
        (
            changed_weights,
            lambda w: w.update({"model.layers.0.self_attn.q_proj.bias": torch.ones(32)}),
            r"q_proj\.bias.*no such weights",
        ),
        (put_beside, b"", r"second\.safetensors"),
        (put_beside, b"anything, and more than eight bytes", r"second\.safetensors"),
        (put_beside, None, r"second\.safetensors"),
        (put_beside, b"version https://git-lfs.github.com/spec/v1\n", r"LFS.*second\.safetensors"),
        (set_config, {"pad_token_id": 9999}, "Padding_idx"),
        (set_config, {"quantization_config": QUANTIZED}, "quantization_config"),
    ],
)
def test_a_directory_that_cannot_be_used_is_refused(directory, damage, argument, named):
    (directory / "pytorch_model.bin").write_bytes(b"anything")
    damage(directory, argument)
    with pytest.raises(ModelNotFoundError, match=named):
        load(directory)


@pytest.mark.parametrize(
    "name",
    [
        # As older versions saved them, heads of other kinds, a part that sees, a draft head.
        *("model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"),
        *("v_head.summary.weight", "score.weight", "mtp.layers.0.input_layernorm.weight"),
        "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight",
    ],
)
def test_weights_that_belong_to_no_part_of_the_model_may_be_there(directory, name):
    changed_weights(directory, lambda weights: weights.update({name: torch.ones(4)}))
    load(directory)


def test_a_tied_output_layer_may_be_stored_too(directory):
    set_config(directory, {"tie_word_embeddings": True})
    embeddings = "model.embed_tokens.weight"
    changed_weights(directory, lambda w: w.update({"lm_head.weight": w[embeddings].clone()}))
    load(directory)
    changed_weights(directory, lambda weights: weights.pop("lm_head.weight"))
    load(directory)


def test_the_files_that_the_list_of_weights_names_are_read(directory):
    weights = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names = {name: f"model-0000{1 + ('layers.1' in name)}-of-00002.safetensors" for name in weights}
    for file in set(names.values()):
        part = {name: weights[name] for name in weights if names[name] == file}
        save_file(part, directory / file, metadata={"format": "pt"})
    listed = {"metadata": {}, "weight_map": names}
    (directory / "model.safetensors.index.json").write_text(json.dumps(listed))
    load(directory)
    (directory / "second.safetensors").write_bytes(b"anything")
    with pytest.raises(ModelNotFoundError, match=r"second\.safetensors"):
        load(directory)


def test_text_tokens_without_an_embedding_are_refused_and_special_ones_never_fed(llama):
    tokenizer = byte_tokenizer()
    tokenizer.backend.add_special_tokens({"additional_special_tokens": ["<image>"]})
    assert LanguageModel(llama.model, Tokenizer(tokenizer.backend), name="images")
    tokenizer.backend.add_tokens(["word"])
    with pytest.raises(ModelNotFoundError, match=r"tokenizer\.json.*'word'.*vocab_size"):
        LanguageModel(llama.model, Tokenizer(tokenizer.backend), name="words")


def test_a_model_whose_logits_do_not_follow_from_its_states_is_asked_for_them(llama):
    class Shifted(LlamaForCausalLM):
        def forward(self, input_ids, **options):
            output = super().forward(input_ids=input_ids, **options)
            size = self.config.vocab_size
            output.logits = output.logits + torch.nn.functional.one_hot(input_ids, size)
            return output

    network = Shifted(llama.model.config)
    model = LanguageModel(network, byte_tokenizer(), name="shifted")
    ids = [0, *range(40, 60)]
    for model.is_plain in (False, True):
        cache = model.contexts(1)
        for tokens in (ids[:9], ids[9:]):
            states = cache.feed([tokens])
        with torch.inference_mode():
            logits = model.logits(states)
            whole = network(torch.tensor([ids]), use_cache=False).logits
            torch.testing.assert_close(logits, whole[:, -1], atol=1e-5, rtol=1e-5)
        expected = torch.nn.functional.cross_entropy(whole[0, :-1], torch.tensor(ids[1:]))
        losses = model.losses_at([ids], [(0, at, ids[at + 1]) for at in range(20)])
        assert sum(losses) / 20 == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_model_that_counts_distances_by_keys_is_on_the_plain_path_in_every_precision(precision):
    config = MptConfig(
        vocab_size=byte_tokenizer().vocabulary_size,
        d_model=32,
        n_heads=4,
        n_layers=4,
        max_seq_len=512,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(config).to(getattr(torch, precision))
    assert LanguageModel(network, byte_tokenizer(), name="mpt").is_plain


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_rounding_puts_no_model_of_keys_on_the_plain_path(llama, precision):
    network = LlamaForCausalLM(llama.model.config).to(getattr(torch, precision))
    model = LanguageModel(network, byte_tokenizer(), name="llama")
    assert not model.is_plain
    assert model.tokens_fed == 0


def test_a_cap_far_above_the_logits_is_kept_and_the_probes_are_not_counted():
    config = RecurrentGemmaConfig(
        vocab_size=byte_tokenizer().vocabulary_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        attention_window_size=16,
        lru_width=32,
        bos_token_id=0,
        pad_token_id=1,
    )
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(config)
    model = LanguageModel(network, byte_tokenizer(), name="capped")
    assert model.tokens_fed == 0
    ids = torch.tensor([[0, *range(40, 60)]])
    with torch.inference_mode():
        whole = network(ids, use_cache=False).logits
        assert whole.abs().max() > 1
        torch.testing.assert_close(
            model.logits(model.hidden_states(ids)), whole, atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize(("bos", "eos", "expected"), [(START, END, 0), (None, END, 1)])
def test_without_the_usual_token_the_tokenizers_own_is_taken(llama, bos, eos, expected):
    tokenizer = byte_tokenizer()
    vocabulary = tokenizer.backend.get_vocab()
    vocabulary["<start>"] = vocabulary.pop(START)
    tokenizer.backend.get_vocab = lambda: vocabulary
    tokenizer.backend.bos_token, tokenizer.backend.eos_token = bos, eos
    assert LanguageModel(llama.model, tokenizer, name="own").bos_id == expected


@pytest.mark.parametrize(("is_available", "expected"), [(True, "cuda"), (False, "cpu")])
def test_a_graphics_card_is_used_where_there_is_one(monkeypatch, is_available, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_available)
    assert resolve_device("auto") == expected
    assert resolve_device("cuda:3") == "cuda:3"


def test_a_graphics_card_computes_as_many_rows_of_logits_as_256_mib_hold(monkeypatch):
    model = tiny_model()
    assert model.logit_rows == 128
    monkeypatch.setattr(type(model), "device", torch.device("cuda"))
    assert model.logit_rows == 2**28 // (4 * model.text_config.vocab_size)
    monkeypatch.setattr(model.text_config, "vocab_size", 10**6)
    assert model.logit_rows == 128


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_model_goes_with_the_last_reference_to_it_whatever_prompts_it_read(is_plain):
    model = tiny_model()
    model.is_plain = is_plain
    assert rows_before_texts(model, PROMPT) is rows_before_texts(model, PROMPT)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_a_prompt_that_memory_did_not_hold_is_fed_again(monkeypatch):
    def lost(*_, **__):
        raise MemoryError

    model = tiny_model()
    windows = windows_of(model.tokenizer, "Rain fell.")
    places = [(TextPosition(0, at), token) for at, token in enumerate(windows[0].ids)]
    expected = model.read(PROMPT, windows).losses(places)
    model.prefixes.clear()
    with monkeypatch.context() as patched:
        patched.setattr(model, "hidden_states", lost)
        with pytest.raises(MemoryError):
            model.read(PROMPT, windows)
    assert model.read(PROMPT, windows).losses(places) == expected
