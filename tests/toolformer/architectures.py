"""Tiny random models of the architectures that differ in ways the engine must not care about.

Llama: rotary positions, grouped heads. Granite: logits scaled behind the output layer. Gemma 3: a
layer that sees 16 tokens, and one that sees all. Qwen 3 Next: a layer of states, and one of keys.
Another Llama on the plain path. All architectures there are, by `test_every_architecture`.
"""

import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, GraniteConfig, Qwen3NextConfig

from tests.fakes import byte_tokenizer, tiny_model
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window, split_into_windows

CONTEXT_LENGTH = 512
_SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT_LENGTH,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "initializer_range": 0.3,
}


def _tiny(config_class, **sizes) -> LanguageModel:
    config = config_class(vocab_size=byte_tokenizer().vocabulary_size, **_SHAPE, **sizes)
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    torch.random.set_rng_state(state)
    return LanguageModel(model, byte_tokenizer(), name=f"tiny-{config.model_type}")


def _plain(model: LanguageModel) -> LanguageModel:
    model.is_plain = True
    return model


ARCHITECTURES = {
    "llama": lambda: tiny_model(context_length=CONTEXT_LENGTH),
    "granite": lambda: _tiny(
        GraniteConfig, intermediate_size=64, num_key_value_heads=2, logits_scaling=2.0
    ),
    "gemma3": lambda: _tiny(
        Gemma3TextConfig,
        intermediate_size=64,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "qwen3_next": lambda: _tiny(
        Qwen3NextConfig,
        intermediate_size=64,
        num_key_value_heads=2,
        head_dim=8,
        layer_types=["linear_attention", "full_attention"],
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    ),
    "llama_plain": lambda: _plain(tiny_model(context_length=CONTEXT_LENGTH)),
}


def windows_of(tokenizer: Tokenizer, *texts: str, window_tokens: int = 64) -> list[Window]:
    """The windows of texts named document-0, document-1, …"""
    return [
        window
        for number, text in enumerate(texts)
        for window in split_into_windows(
            f"document-{number}", text, tokenizer, window_tokens=window_tokens
        )
    ]
