"""Tiny random models of the architectures that differ in ways the engine must not care about.

Llama: rotary positions, grouped heads. GPT-2: learned positions, tied output layer. GPT-NeoX and
GPT-J: rotary positions on a part of each head, attention beside the feed-forward layer; GPT-J with
an output layer with a bias. Granite: logits scaled behind the output layer. One more Llama, whose
vocabulary writes ` [` as two tokens.
"""

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
)

from tests.fakes import byte_tokenizer, tiny_model
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window, split_into_windows

CONTEXT_LENGTH = 512


def _shape() -> dict[str, int | float]:
    return {
        "vocab_size": byte_tokenizer().vocabulary_size,
        "n_positions": CONTEXT_LENGTH,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "initializer_range": 0.3,
    }


def tiny_gpt2() -> LanguageModel:
    return _wrap(GPT2LMHeadModel, GPT2Config(**_shape()), "tiny-gpt2")


def tiny_gptj() -> LanguageModel:
    return _wrap(GPTJForCausalLM, GPTJConfig(**_shape(), rotary_dim=4), "tiny-gptj")


def tiny_gpt_neox() -> LanguageModel:
    config = GPTNeoXConfig(
        vocab_size=byte_tokenizer().vocabulary_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT_LENGTH,
        rotary_pct=0.5,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.3,
    )
    return _wrap(GPTNeoXForCausalLM, config, "tiny-gpt-neox")


def tiny_granite() -> LanguageModel:
    config = GraniteConfig(
        vocab_size=byte_tokenizer().vocabulary_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_LENGTH,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.3,
        logits_scaling=2.0,
    )
    return _wrap(GraniteForCausalLM, config, "tiny-granite")


def _wrap(model_class, config, name: str) -> LanguageModel:
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    model = model_class(config)
    torch.random.set_rng_state(state)
    return LanguageModel(model, byte_tokenizer(), name=name)


ARCHITECTURES = {
    "llama": lambda: tiny_model(context_length=CONTEXT_LENGTH),
    "gpt2": tiny_gpt2,
    "gptj": tiny_gptj,
    "gpt_neox": tiny_gpt_neox,
    "granite": tiny_granite,
    "llama_split": lambda: tiny_model(context_length=CONTEXT_LENGTH, splits_opening=True),
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
