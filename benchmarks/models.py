"""Measures how far the engine differs from plain transformers, per vocabulary and architecture.

Each row is a tiny model with random weights and a real vocabulary; `toolformer.model_check` defines
what is compared. Attention windows are 16 tokens, so that the texts are longer than a window.

    python -m benchmarks.models --vocabularies FOLDER [--json FILE]

FOLDER has a folder per vocabulary with tokenizer.json (or tokenizer.json.xz) and
tokenizer_config.json. The exit code is 1 if a row differs by more than 1e-4, or a text cannot be
restored from its tokens. A refused model is a row with the reason.
"""

import argparse
import json
import lzma
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.machine import machine, versions
from toolformer.errors import ModelNotFoundError
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.tokenization import Tokenizer, load_tokenizer
from toolformer.model_check import check_model, faults

_WINDOW = 16
# In nats for losses, relative for p_i.
_TOLERANCE = 1e-4
# Each value is used if a configuration has the field.
_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 2048,
    "initializer_range": 0.1,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
}
_SLIDING = {"sliding_window": _WINDOW}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
_LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16}
_HALF_FULL = {"layer_types": ["sliding_attention", "full_attention"] * 2}
FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "olmo2": {},
    "smollm3": {},
    "apertus": {},
    "granite": {"logits_scaling": 2.0},
    "gpt2": {},
    "gptj": {"rotary_dim": 8},
    "gpt_neox": {},
    "opt": {"ffn_dim": 96, "word_embed_proj_dim": 64},
    "bloom": {"n_layer": 4, "n_head": 4},
    "gemma2": {**_SLIDING, "query_pre_attn_scalar": 16},
    "gemma3_text": {**_SLIDING, **_HALF_FULL, "query_pre_attn_scalar": 16},
    "gemma4_text": {**_SLIDING, **_HALF_FULL},
    "phi3": _SLIDING,
    "mistral": _SLIDING,
    "olmo3": {**_SLIDING, **_HALF_FULL},
    "cohere2": {**_SLIDING, **_HALF_FULL},
    "exaone4": {**_SLIDING, **_HALF_FULL},
    "gpt_oss": {**_SLIDING, **_HALF_FULL, **_EXPERTS, "num_local_experts": 4},
    "qwen3_moe": {**_EXPERTS, "num_experts": 4},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "deepseek_v3": {
        **_EXPERTS,
        "num_key_value_heads": 4,
        "q_lora_rank": 32,
        "kv_lora_rank": 32,
        "qk_rope_head_dim": 16,
        "qk_nope_head_dim": 16,
        "v_head_dim": 16,
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
    },
    "qwen3_5_text": _LINEAR,
    "qwen3_next": {**_LINEAR, **_EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 32},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2, "block_multiple_of": 16},
    "granitemoehybrid": {
        **_MAMBA,
        "layer_types": ["mamba", "attention"] * 2,
        "num_local_experts": 0,
        "shared_intermediate_size": 96,
    },
    "falcon_h1": {**_MAMBA, "mamba_d_ssm": 128},
    "nemotron_h": {
        "hybrid_override_pattern": "M*-M",
        "mamba_num_heads": 8,
        "mamba_head_dim": 16,
        "ssm_state_size": 16,
    },
    "mamba2": {"num_heads": 8, "head_dim": 16, "state_size": 16, "expand": 2},
}
# The first architecture is saved and loaded in the same way as a user's model.
_LOADED = next(iter(FAMILIES))


@dataclass(frozen=True, slots=True)
class Row:
    """One model of the table; `path` says how it is served, or is None if it was not loaded."""

    vocabulary: str
    architecture: str
    path: str | None = None
    start_token: str = ""
    check: dict[str, float] | None = None
    problem: str = ""
    seconds: float = 0.0

    @property
    def faults(self) -> list[str]:
        """Differences and errors. A refusal is not a fault."""
        if self.check is None:
            return [] if self.problem.startswith("refused") else [self.problem]
        return faults(self.check, _TOLERANCE)


def network(family: str, vocabulary_size: int) -> transformers.PreTrainedModel:
    sizes = {**_SIZES, **FAMILIES[family], "vocab_size": vocabulary_size}
    # `for_model` translates these names to the attributes of each class.
    config = transformers.AutoConfig.for_model(family, **sizes)
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config).float()


def row_of(family: str, folder: Path) -> Row:
    began = time.monotonic()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    row = Row(folder.name, family)
    try:
        model = _model(family, folder)
    except ModelNotFoundError as error:
        return Row(folder.name, family, problem=f"refused: {error}")
    # Each class fails in its own way, and a failure must not stop the other rows.
    except Exception as error:  # noqa: BLE001
        return Row(folder.name, family, problem=f"not loaded: {_described(error)}")
    path = "plain" if model.is_plain else "shared keys"
    where = "everywhere" if model.prompt_start else "not in prompts"
    start_token = f"{model.tokenizer.token_text(model.bos_id)} {where}"
    try:
        check, problem = check_model(model), ""
    except Exception as error:  # noqa: BLE001
        check, problem = None, f"fails: {_described(error)}"
    seconds = round(time.monotonic() - began, 1)
    return Row(row.vocabulary, family, path, start_token, check, problem, seconds)


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _model(family: str, folder: Path) -> LanguageModel:
    tokenizer = _tokenizer(folder)
    built = network(family, max(tokenizer.backend.get_vocab().values()) + 1)
    if family != _LOADED:
        return LanguageModel(built, tokenizer, name=family)
    with tempfile.TemporaryDirectory() as directory:
        built.save_pretrained(directory)
        for file in folder.iterdir():
            shutil.copy(file, directory)
        return LanguageModel.load(Path(directory), device="cpu")


@cache
def _tokenizer(folder: Path) -> Tokenizer:
    return load_tokenizer(folder)


def unpacked(vocabularies: Path, into: Path) -> list[Path]:
    folders = []
    for source in sorted(folder for folder in vocabularies.iterdir() if folder.is_dir()):
        folder = into / source.name
        folder.mkdir()
        for file in source.glob("tokenizer*.json*"):
            if file.suffix == ".xz":
                (folder / file.stem).write_bytes(lzma.decompress(file.read_bytes()))
            else:
                shutil.copy(file, folder)
        folders.append(folder)
    return folders


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabularies", type=Path, required=True)
    parser.add_argument(
        "--only", nargs="*", help="measure only these vocabularies and architectures"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folders = unpacked(arguments.vocabularies, Path(temporary))
        only = set(arguments.only or ())
        pairs = [
            (family, folder)
            for folder in folders
            for family in FAMILIES
            if not only & {one.name for one in folders} or folder.name in only
            if not only & set(FAMILIES) or family in only
        ]
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(arguments.processes, mp_context=context) as pool:
            rows = []
            for row in pool.map(row_of, *zip(*pairs, strict=True)):
                rows.append(row)
                outcome = "; ".join(row.faults) or row.problem or "equal"
                print(f"{row.vocabulary:10} {row.architecture:18} {row.seconds:5} s  {outcome}")
                sys.stdout.flush()
    record = {
        "machine": machine(),
        "versions": versions(),
        "seconds": round(time.monotonic() - began),
        "rows": [asdict(row) for row in rows],
    }
    if arguments.json:
        arguments.json.write_text(f"{json.dumps(record, indent=1, ensure_ascii=False)}\n")
    wrong = sum(bool(row.faults) for row in rows)
    print(f"{len(rows)} rows in {record['seconds']} s, {wrong} of them wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
