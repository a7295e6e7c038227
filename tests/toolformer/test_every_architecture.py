"""Every causal architecture of transformers, tiny and random: the stock numbers, or a refusal.

Texts are longer than the windows of layers that have some.
"""

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tests.fakes import byte_tokenizer, decoding_with
from tests.toolformer.architectures import windows_of
from toolformer.decoding.decoder import complete
from toolformer.errors import ModelNotFoundError
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.model import TextPosition
from toolformer.forward.windows import SplitPrompt, Window

# Warnings of model classes that this project does not choose.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

TOKENIZER = byte_tokenizer()
WINDOW = 16
# Taken where a configuration has the field.
SIZES = {
    "vocab_size": TOKENIZER.vocabulary_size,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "initializer_range": 0.3,
    "init_std": 0.3,
    "max_position_embeddings": 512,
    "sliding_window": WINDOW,
    "window_size": WINDOW,
    "num_hidden_layers": 2,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "hidden_size": 32,
    "d_model": 32,
    "embedding_size": 32,
    "num_attention_heads": 4,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "v_head_dim": 8,
    "rotary_dim": 4,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "intermediate_size": 64,
    "ffn_dim": 64,
    "ffn_hidden_size": 64,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "num_experts": 4,
    "n_routed_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_head_dim": 8,
    "linear_num_heads": 2,
    "chunk_size": 8,
    "mamba_chunk_size": 8,
    "mamba_d_ssm": 64,
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_d_state": 8,
    "mamba_num_heads": 8,
    "mamba_head_dim": 16,
    "ssm_state_size": 8,
    "state_size": 8,
}
# A layer of states, and one of keys.
_HYBRID = {"layer_types": ["linear_attention", "full_attention"]}
# Fields that have no value of their own, but need one.
EMPTY = {"num_experts_per_tok", "head_dim", "num_key_value_heads"}
OWN_SIZES = {
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "zaya": {"num_experts_per_tok": 1},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    **dict.fromkeys(("kimi_linear", "olmo_hybrid", "qwen3_5_text", "qwen3_next"), _HYBRID),
}
# Their sizes hang together in ways of their own, or they need a package or stay large.
NOT_BUILT = """
blt cohere_compass_text dbrx dots1 dots3_note gemma3n gemma3n_text gemma4 gemma4_assistant
gemma4_text gemma4_unified_assistant lfm2_moe musicgen musicgen_melody reformer xlnet zamba zamba2
"""
# Encoders, whose tokens see what stands behind them, and some that cannot be fed tokens alone.
REFUSED = """
bert bert-generation big_bird camembert cpmant data2vec-text electra ernie longcat_flash
megatron-bert prophetnet rembert roberta roberta-prelayernorm roc_bert roformer xlm xlm-roberta
xlm-roberta-xl xmod
"""
LARGEST = 30_000_000


def sizes_of(name: str, config) -> dict:
    own = vars(config)
    names = {field: config.attribute_map.get(field, field) for field in SIZES}
    sizes = {
        field: SIZES[field]
        for field, stored in names.items()
        if own.get(stored) is not None or (stored in own and field in EMPTY)
    }
    sizes |= OWN_SIZES.get(name, {})
    # Keys that are unfolded from a latent have a size made of two others.
    if "kv_lora_rank" in sizes:
        sizes = {**sizes, "num_key_value_heads": sizes["num_attention_heads"]}
        sizes.pop("head_dim", None)
    return sizes


def built(name: str):
    """The model, or None where the table of sizes does not fit its class."""
    torch.manual_seed(0)
    try:
        whole = CONFIG_MAPPING[name]()
        parts = {part: getattr(whole, part) for part in whole.sub_configs}
        config = type(whole)(
            **sizes_of(name, whole),
            **{part: type(of)(**sizes_of(name, of)) for part, of in parts.items() if of},
        )
        with torch.device("meta"):
            weights = AutoModelForCausalLM.from_config(config).parameters()
        if sum(weight.numel() for weight in weights) > LARGEST:
            return None
        return AutoModelForCausalLM.from_config(config)
    # Each class checks its sizes in its own way; the list above says which ones end here.
    except Exception:  # noqa: BLE001
        return None


def stock(model: LanguageModel, ids: list[int]) -> torch.Tensor:
    return model.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()


PROMPT = "Ask [QA(x)].\nInput: {text}\nOutput:"


def check_losses(model: LanguageModel, window: Window) -> None:
    ids = [model.bos_id, *window.ids]
    places = [(0, place, token) for place, token in enumerate(window.ids)]
    expected = cross_entropy(stock(model, ids)[:-1], torch.tensor(ids[1:]), reduction="none")
    losses = torch.tensor(model.losses_at([ids, ids[:9]], places))
    torch.testing.assert_close(losses, expected, atol=1e-3, rtol=1e-3)


def check_branches(model: LanguageModel, long: Window, short: Window) -> None:
    prompt = SplitPrompt.of(PROMPT)
    front = prompt.shared_ids(TOKENIZER)
    read = model.read(PROMPT, [long, short])
    starts = [(long, 3), (long, 9), (short, 2)]
    rows = read.contexts([TextPosition(0, 3), TextPosition(0, 9), TextPosition(1, 2)], shares=True)
    rows.feed([[50, 51], [60, 61], [70, 71]])
    states = rows.fork([0, 1, 1, 2], shares=True).feed([[52], [62], [63], [72]])
    tokens = [[50, 51, 52], [60, 61, 62], [60, 61, 63], [70, 71, 72]]
    for state, parent, branch in zip(states, (0, 1, 1, 2), tokens, strict=True):
        window, place = starts[parent]
        before = [*front, *prompt.text_part_ids(TOKENIZER, window.text), *window.ids[:place]]
        expected = stock(model, [*before, *branch])[-1]
        torch.testing.assert_close(model.logits(state), expected, atol=1e-2, rtol=1e-2)


def check_decoding(model: LanguageModel) -> None:
    completions = complete(
        model,
        ["Six times", "Rain fell on the plain and"],
        decoding=decoding_with(max_new_tokens=4, tools=()),
        run_calls=lambda _: [],
        end_ids=frozenset(),
    )
    (opening,) = TOKENIZER.encode(" [")
    for completion in completions:
        ids = [model.bos_id, *TOKENIZER.encode(completion.prompt)]
        assert len(completion.trace) == 4
        for step in completion.trace:
            logits = stock(model, ids)[-1]
            logits[opening] = -torch.inf
            assert float(logits.max() - logits[step.token]) < 1e-2
            ids.append(step.token)


@pytest.mark.parametrize("name", list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
def test_an_architecture_gives_the_stock_numbers_or_is_refused_by_name(name):
    network = built(name)
    assert (network is None) == (name in NOT_BUILT.split())
    if network is None:
        return
    if name in REFUSED.split():
        with pytest.raises(ModelNotFoundError, match=type(network).__name__):
            LanguageModel(network, TOKENIZER, name=name)
        return
    model = LanguageModel(network, TOKENIZER, name=name)
    with torch.inference_mode():
        long, short = windows_of(TOKENIZER, "Six times seven is 42, they say.", "Rain.")
        check_losses(model, long)
        check_branches(model, long, short)
        check_decoding(model)


@pytest.mark.parametrize(
    ("name", "length"), [("llama", 512), ("gemma3", 512), ("mistral", 512), ("gpt_neo", 512)]
)
def test_the_whole_context_is_used_whatever_windows_layers_have(name, length):
    assert LanguageModel(built(name), TOKENIZER, name=name).context_length == length
