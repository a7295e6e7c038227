"""Loads a Hugging Face causal language model and feeds tokens through it.

Weights are read from safetensors only, because a pickled checkpoint can run code when opened.
"""

import inspect
import logging
import threading
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import torch

from toolformer.base.loading import loading, out_of_memory_as, prepare_transformers
from toolformer.errors import (
    ModelNotFoundError,
    OutOfMemoryError,
    OverflowingModelError,
    SequenceTooLongError,
)
from toolformer.forward.attention_masks import AttentionKinds
from toolformer.forward.devices import resolve_device
from toolformer.forward.memory import available_memory, check_weights_fit
from toolformer.forward.model_directory import (
    check_all_read,
    check_model_directory,
    check_weight_files,
    context_length,
    read_config,
    refused,
)
from toolformer.forward.shared_heads import share_key_heads
from toolformer.forward.start_token import check_vocabulary, end_ids, start_token
from toolformer.forward.tokenization import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedConfig, PreTrainedModel

_LOGGER = logging.getLogger(__name__)
# Number of rows for which logits are computed at once, to bound the memory of full-vocabulary
# logits. On a processor, chunks of more than 32 MiB would be allocated and freed by the system each
# time. On a GPU, small chunks would take longer to launch than to compute.
LOGIT_ROWS = 128
_GPU_LOGIT_BYTES = 2**28


class Network:
    """Causal language model in evaluation mode, with the attributes of `Model`.

    `probes` sets the attributes that depend on the model class:

    - `is_plain`: the model is fed on the plain path, see `own_rows`
    - `kinds`: attention masks that the model takes, unless it is plain
    - `can_copy_cache`: rows can continue from copies of the model's own cache
    - `can_pad_cache`: rows of different lengths can share such a cache with left padding
    - `logits_source`: the output "layer", the whole "model", or "states" that already are logits
    - `key_bytes`: bytes of KV cache per token, over all layers
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
        share_key_heads(model)
        self.tokenizer = tokenizer
        self.name = name
        self.bos_id = start_token(tokenizer, bos_token)
        self.prompt_start = [self.bos_id] if tokenizer.start_ids else []
        if not tokenizer.start_ids and bos_token is None:
            start = tokenizer.token_text(self.bos_id)
            _LOGGER.info("The tokenizer of %s adds no start token. Using %r.", name, start)
        check_vocabulary(tokenizer, self.bos_id, model.config, name)
        self.context_length = context_length(self.text_config, name)
        self.tokens_fed = 0
        self.prefixes: dict[Any, Any] = {}
        # A tool call that timed out still runs in its thread while other passes start.
        self._lock = threading.Lock()
        self._body: Any = model.base_model
        self._head: Any = model.get_output_embeddings()
        self.logits_source: Literal["layer", "model", "states"] = "layer"
        self.is_plain, self.can_copy_cache, self.can_pad_cache = False, True, True
        self.kinds, self.key_bytes = AttentionKinds({"": None}), 0

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        precision: str = "float32",
        device: str = "auto",
        bos_token: str | None = None,
    ) -> Self:
        """Load a model directory onto a device (`auto`, `cpu` or a CUDA device).

        Raises ModelNotFoundError, its subclass OverflowingModelError, or OutOfMemoryError.
        """
        check_model_directory(path)
        prepare_transformers()
        from transformers import AutoModelForCausalLM

        device = resolve_device(device)
        config = read_config(path)
        check_weights_fit(path, precision=precision, device=device, space=available_memory(device))
        tokenizer = load_tokenizer(path)
        check_vocabulary(tokenizer, None, config, path.name)
        start_token(tokenizer, bos_token)
        check_weight_files(path)
        field = " with quantization_config" if hasattr(config, "quantization_config") else ""
        what = f"The model in {str(path)!r} (config.json{field}, *.safetensors)"
        with _enough_memory(path.name, device), loading(what, refused):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path,
                config=config,
                dtype=getattr(torch, precision),
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                # Otherwise transformers raises an error that does not name the weights.
                ignore_mismatched_sizes=True,
            )
        model, loading_info = loaded
        if mismatched := sorted(loading_info["mismatched_keys"]):
            name, stored, wanted = mismatched[0]
            raise ModelNotFoundError(
                f"{what} cannot be loaded: {name} has shape {list(stored)}, but config.json "
                f"implies {list(wanted)} ({len(mismatched)} such weights). Copy or save the model "
                "again."
            )
        # Transformers only warns and initialises missing weights randomly.
        if missing := sorted(loading_info["missing_keys"]):
            raise ModelNotFoundError(
                f"The model in {str(path)!r} lacks the weights {', '.join(missing[:3])} "
                f"({len(missing)} in all). Expected all weights of a {type(model).__name__}. Copy "
                "or save the model again."
            )
        check_all_read(model, loading_info["unexpected_keys"], path)
        with _enough_memory(path.name, device):
            return cls(model.to(device), tokenizer, name=path.name, bos_token=bos_token)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def text_config(self) -> "PreTrainedConfig":
        """Configuration of the text model, which multimodal models nest."""
        return self.model.config.get_text_config(decoder=True)

    @property
    def precision(self) -> str:
        return str(self.model.dtype).removeprefix("torch.")

    @property
    def end_ids(self) -> frozenset[int]:
        """See `Model.end_ids`. Not cached, because callers of `generate` may change the ids."""
        of_generation = getattr(self.model, "generation_config", None)
        configs = (of_generation, self.model.config, self.text_config)
        return end_ids(self.tokenizer, self.bos_id, [each.to_dict() for each in configs if each])

    @property
    def logit_rows(self) -> int:
        """Number of rows for which logits are computed at once."""
        if self.device.type != "cuda":
            return LOGIT_ROWS
        return max(LOGIT_ROWS, _GPU_LOGIT_BYTES // (4 * self.text_config.vocab_size))

    def hidden_states(
        self, input_ids: torch.Tensor, *, cache: "Cache | None" = None, **arguments: Any
    ) -> torch.Tensor:
        """Feed int tokens of shape `(batch, position)`; return `(batch, position, hidden)`.

        These are logits if `logits_source` is "states". The KV cache grows in place. It requires
        `position_ids` and an `attention_mask` from `kinds`: without a mask,
        scaled_dot_product_attention would see only the last keys.
        """
        if cache is not None:
            arguments["past_key_values"] = cache
        return self._feed(input_ids, use_cache=cache is not None, **arguments)[0]

    def own_states(
        self, input_ids: torch.Tensor, cache: Any = None, **arguments: torch.Tensor
    ) -> tuple[torch.Tensor, Any]:
        """Feed tokens with the model's own cache; return the states and the new cache.

        The cache is None if the model cannot continue from it; then everything must be fed again.
        With left padding, pass `position_ids`, and an `attention_mask` for cached and new tokens.
        """
        if not self.can_copy_cache:
            return self._feed(input_ids, use_cache=False)[0], None
        return self._feed(input_ids, use_cache=True, **{self._cache_name: cache}, **arguments)

    def _feed(self, input_ids: torch.Tensor, **arguments: Any) -> tuple[torch.Tensor, Any]:
        with self._lock:
            self.tokens_fed += input_ids.numel()
            if self.logits_source == "states":
                outputs = self.model(input_ids=input_ids, **arguments)
                return outputs.logits, outputs.get(self._cache_name)
            outputs = self._body(input_ids=input_ids, **arguments)
            return outputs.last_hidden_state, outputs.get(self._cache_name)

    @cached_property
    def _cache_name(self) -> str:
        fields = inspect.signature(self._body.forward).parameters
        return "cache_params" if "cache_params" in fields else "past_key_values"

    def logits(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Return float32 logits, shape `(..., vocabulary)`, for states of shape `(..., hidden)`."""
        if self.logits_source == "layer":
            return self._head(hidden_states).float()
        if self.logits_source == "model":
            return self._logits_of_whole_model(hidden_states)
        return hidden_states.float()

    def check_finite(self, values: torch.Tensor) -> None:
        """Raise `OverflowingModelError` if states or logits are not finite."""
        if not values.isfinite().all():
            remedy = "Copy or save the model again"
            if self.precision != "float32":
                remedy += ", or set language_model.precision to auto or float32"
            raise OverflowingModelError(
                f"The model {self.name!r} yields numbers that are not finite. Its weights "
                f"(*.safetensors) are damaged, or they overflow in {self.precision}. {remedy}."
            )

    def _logits_of_whole_model(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Run the model's own forward pass with the body replaced by its known output."""
        from transformers.modeling_outputs import BaseModelOutputWithPast

        flat = hidden_states.reshape(1, -1, hidden_states.shape[-1])
        known: Any = BaseModelOutputWithPast(last_hidden_state=flat)
        ids = torch.zeros(flat.shape[:2], dtype=torch.long, device=flat.device)
        with self._lock:
            # This instance attribute hides the class's method until it is deleted.
            self._body.forward = lambda *_, **__: known
            try:
                logits = self.model(input_ids=ids, use_cache=False).logits
            finally:
                del self._body.forward
        return logits.reshape(*hidden_states.shape[:-1], -1).float()


def check_length(model: Network, tokens: int) -> None:
    """Raise SequenceTooLongError if a row exceeds the context; most models would not notice."""
    if tokens > model.context_length:
        raise SequenceTooLongError(
            f"A row of {tokens} tokens is too long for the model {model.name!r}. Expected at most "
            f"{model.context_length}. Shorten the text (corpus.window_tokens) or the prompt."
        )


def _enough_memory(name: str, device: str) -> AbstractContextManager[None]:
    return out_of_memory_as(
        OutOfMemoryError,
        f"The model {name!r} does not fit into the memory of device {device!r}. Use a smaller "
        "model (language_model.path), a precision of 16 bits (language_model.precision) or a "
        "device with more memory (language_model.device), or stop other programs that use it.",
    )
