"""A Hugging Face causal language model with its tokenizer, as the engine uses it.

Does not know tools, calls or prompts. Weights are read from safetensors only: a pickled checkpoint
can run code when it is opened.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolformer.errors import ModelNotFoundError
from toolformer.tokenization import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import Cache, PreTrainedModel

# Flags of processors that compute in bfloat16 themselves.
BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
_PRECISIONS = ("auto", "float32", "bfloat16")


def resolve_device(device: str) -> str:
    """`auto` becomes `cuda` where there is one, else `cpu`."""
    import torch

    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve_precision(precision: str, device: str) -> str:
    """`auto` becomes bfloat16 where the processor computes in it, else float32.

    Args:
        precision: `auto`, `float32` or `bfloat16`.
        device: a resolved device.

    Raises:
        ModelNotFoundError: the precision is not one of the three.
    """
    import torch

    if precision not in _PRECISIONS:
        raise ModelNotFoundError(
            f"Unknown precision {precision!r}; expected one of {', '.join(_PRECISIONS)}."
        )
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    # The processor flag tells; torch itself emulates bfloat16 slowly where it is missing.
    capabilities = Path("/proc/cpuinfo")
    has_bfloat16 = capabilities.exists() and any(
        flag in capabilities.read_text() for flag in BFLOAT16_FLAGS
    )
    return "bfloat16" if has_bfloat16 else "float32"


def check_model_directory(path: Path) -> None:
    """Tell a directory with a usable model from anything else, without loading it.

    Raises:
        ModelNotFoundError: names what is missing.
    """
    remedy = (
        "Expected a directory as `save_pretrained` writes it: config.json, tokenizer.json and "
        "*.safetensors. Set language_model.path in toolformer.yaml to such a directory, or to "
        "'embedded' for the model that comes with the project."
    )
    if not path.is_dir():
        raise ModelNotFoundError(f"There is no model directory {str(path)!r}. {remedy}")
    missing = [
        name
        for name, pattern in (
            ("config.json", "config.json"),
            ("a tokenizer (tokenizer.json)", "tokenizer*.json"),
            ("weights (*.safetensors)", "*.safetensors"),
        )
        if not any(path.glob(pattern))
    ]
    if missing:
        raise ModelNotFoundError(
            f"The model directory {str(path)!r} has no {' and no '.join(missing)}. {remedy}"
        )


class LanguageModel:
    """A causal language model in evaluation mode.

    Attributes:
        model: the Hugging Face model.
        tokenizer: its tokenizer.
        bos_id: the token put in front of every scored text, so that its first token has a
            probability (spec §1.9, item 4).
        context_length: most tokens the model takes.
        tokens_fed: token positions fed through the body so far, padding included. The cost of the
            method is counted in these.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: Tokenizer,
        *,
        name: str,
        bos_token: str | None = None,
    ):
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name
        self.bos_id = _bos_id(tokenizer, bos_token)
        self.context_length = int(getattr(model.config, "max_position_embeddings", 2048))
        self.tokens_fed = 0
        self._body: Any = model.base_model
        self._head: Any = model.get_output_embeddings()
        self._check_head()

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        precision: str = "auto",
        device: str = "auto",
        bos_token: str | None = None,
    ) -> "LanguageModel":
        """Load a model directory.

        Args:
            path: a directory as `save_pretrained` writes it.
            precision: `auto`, `float32` or `bfloat16`.
            device: `auto`, `cpu` or a CUDA device.
            bos_token: text of the token to put in front of scored texts; by default
                `<|endoftext|>` where the vocabulary has it, else the tokenizer's own.

        Raises:
            ModelNotFoundError: the directory holds no model, or one that cannot be used.
        """
        check_model_directory(path)
        # Nothing is ever fetched from a hub behind the user's back.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging as transformers_logging

        # A bar per load would stand between the lines of every command and run.
        transformers_logging.disable_progress_bar()

        device = resolve_device(device)
        precision = resolve_precision(precision, device)
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path,
                dtype=getattr(torch, precision),
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
            tokenizer = load_tokenizer(path)
        # SafetensorError: damaged weights; RuntimeError: weights of other shapes than the config's.
        except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
            raise ModelNotFoundError(
                f"The model in {str(path)!r} cannot be loaded: {error}. Expected a causal language "
                "model of a class that the installed transformers knows, with safetensors weights."
            ) from error
        model, loading_info = loaded
        # Transformers fills such weights with random numbers and only warns.
        if missing := sorted(loading_info["missing_keys"]):
            raise ModelNotFoundError(
                f"The model in {str(path)!r} lacks the weights {', '.join(missing[:3])} "
                f"({len(missing)} in all). Expected all weights of a {type(model).__name__}; copy "
                "or save the model again."
            )
        return cls(model.to(device), tokenizer, name=path.name, bos_token=bos_token)

    @property
    def device(self) -> "torch.device":
        """Where the weights lie."""
        return self.model.device

    @property
    def precision(self) -> str:
        """`float32` or `bfloat16`."""
        return str(self.model.dtype).removeprefix("torch.")

    def hidden_states(
        self,
        input_ids: "torch.Tensor",
        *,
        cache: "Cache | None" = None,
        attention_mask: "torch.Tensor | None" = None,
        position_ids: "torch.Tensor | None" = None,
    ) -> "torch.Tensor":
        """Feed tokens through the body.

        Args:
            input_ids: int, shape `(batch, position)`. Right-padded causal rows need no mask.
            cache: keys and values of what stands before; grows by `position`. Without one nothing
                is kept.
            attention_mask: 4-D, added to the attention scores, shape
                `(batch or 1, 1, position, keys)`. Needed whenever there is a cache: without a mask
                scaled_dot_product_attention sees only the last keys.
            position_ids: int, shape `(batch or 1, position)`.

        Returns:
            The last hidden states, shape `(batch, position, hidden)`.
        """
        self.tokens_fed += input_ids.numel()
        return self._body(
            input_ids=input_ids,
            past_key_values=cache,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=cache is not None,
        ).last_hidden_state

    def logits(self, hidden_states: "torch.Tensor") -> "torch.Tensor":
        """Next-token logits in float32, shape `(..., vocabulary)`, of `(..., hidden)`."""
        return self._head(hidden_states).float()

    def _check_head(self) -> None:
        """Body and output layer apart must give what the model gives whole.

        Some architectures scale or cap their logits after the output layer; then the engine's
        numbers would be silently wrong, so such a model is refused.
        """
        import torch

        probe = torch.tensor([[self.bos_id, 1, 2, 3]], device=self.device)
        with torch.inference_mode():
            apart = self._head(self._body(input_ids=probe, use_cache=False).last_hidden_state)
            whole = self.model(input_ids=probe, use_cache=False).logits
        if not torch.allclose(apart.float(), whole.float(), atol=1e-3, rtol=1e-3):
            raise ModelNotFoundError(
                f"The model class {type(self.model).__name__} changes its logits after the output "
                "layer, which this engine does not handle yet. Use a Llama-, Qwen-, GPT-J-, "
                "GPT-NeoX- or GPT-2-like model."
            )


def _bos_id(tokenizer: Tokenizer, bos_token: str | None) -> int:
    backend = tokenizer.backend
    vocabulary = backend.get_vocab()
    if bos_token is not None:
        if bos_token not in vocabulary:
            raise ModelNotFoundError(
                f"The token {bos_token!r} (language_model.bos_token) is not in the model's "
                "vocabulary. Leave it empty to use the tokenizer's own."
            )
        return vocabulary[bos_token]
    if "<|endoftext|>" in vocabulary:
        return vocabulary["<|endoftext|>"]
    for token_id in (backend.bos_token_id, backend.eos_token_id):
        if isinstance(token_id, int):
            return token_id
    raise ModelNotFoundError(
        "The tokenizer names no beginning- or end-of-text token. Set language_model.bos_token."
    )
