"""A Hugging Face causal language model with its tokenizer, as the engine uses it.

Weights are read from safetensors only: a pickled checkpoint can run code when it is opened.
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
# Rows of the output layer computed at once: bounds the memory of full-vocabulary logits. On a
# processor, more than 32 MiB at once are taken from the system, and given back, for every piece; on
# a GPU fewer rows are waited for longer than they are computed.
LOGIT_ROWS = 128
_GPU_LOGIT_BYTES = 2**28


class Network:
    """A causal language model in evaluation mode; has the attributes of `Model` besides.

    Attributes:
        is_plain: whether texts are fed on the plain path.
        kinds: the masks that it takes, where it is not.
        can_copy_cache: whether rows can go on behind copies of the model's own cache.
        can_pad_cache: whether rows of different lengths can go on together behind one, in which the
            keys of shorter rows are padded in front.
        logits_source: by what states become logits: the output "layer", the whole "model", or
            nothing further where they are the logits ("states").
        key_bytes: bytes of one token's keys and values in all layers.
        prefixes: what was fed of prompts, see `prefill`.
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
            _LOGGER.info("%s puts no start token in front of texts: %r is taken", name, start)
        check_vocabulary(tokenizer, self.bos_id, model.config, name)
        self.context_length = context_length(self.text_config, name)
        self.tokens_fed = 0
        self.prefixes: dict[Any, Any] = {}
        # A tool's call that came too late goes on in its thread while other passes begin.
        self._turn = threading.Lock()
        self._body: Any = model.base_model
        self._head: Any = model.get_output_embeddings()
        # See `probes`, which finds out what these are.
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
        """Load a model directory.

        Args:
            path: a directory as `save_pretrained` writes it.
            precision: `float32`, `bfloat16` or `float16`.
            device: `auto`, `cpu` or a CUDA device.
            bos_token: see `toolformer.forward.start_token.start_token`.

        Raises:
            ModelNotFoundError: the directory holds no model, or one that cannot be used.
            OverflowingModelError: of these, a model that overflows in it.
            OutOfMemoryError: the device does not hold the model.
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
                # Else it raises without naming them.
                ignore_mismatched_sizes=True,
            )
        model, loading_info = loaded
        if mismatched := sorted(loading_info["mismatched_keys"]):
            name, stored, wanted = mismatched[0]
            raise ModelNotFoundError(
                f"{what} cannot be loaded: {name} has shape {list(stored)}, by config.json it has "
                f"{list(wanted)} ({len(mismatched)} such weights). Copy or save the model again."
            )
        # Transformers fills such weights with random numbers and only warns.
        if missing := sorted(loading_info["missing_keys"]):
            raise ModelNotFoundError(
                f"The model in {str(path)!r} lacks the weights {', '.join(missing[:3])} "
                f"({len(missing)} in all). Expected all weights of a {type(model).__name__}; copy "
                "or save the model again."
            )
        check_all_read(model, loading_info["unexpected_keys"], path)
        with _enough_memory(path.name, device):
            return cls(model.to(device), tokenizer, name=path.name, bos_token=bos_token)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.model.device

    @property
    def text_config(self) -> "PreTrainedConfig":
        """What the configuration says of the part that writes; models with images nest it."""
        return self.model.config.get_text_config(decoder=True)

    @property
    def precision(self) -> str:
        """`float32`, `bfloat16` or `float16`."""
        return str(self.model.dtype).removeprefix("torch.")

    @property
    def end_ids(self) -> frozenset[int]:
        """See `Model.end_ids`; looked up each time, since callers of `generate` may set others."""
        of_generation = getattr(self.model, "generation_config", None)
        configs = (of_generation, self.model.config, self.text_config)
        return end_ids(self.tokenizer, self.bos_id, [each.to_dict() for each in configs if each])

    @property
    def logit_rows(self) -> int:
        """How many rows of logits are computed at once."""
        if self.device.type != "cuda":
            return LOGIT_ROWS
        return max(LOGIT_ROWS, _GPU_LOGIT_BYTES // (4 * self.text_config.vocab_size))

    def hidden_states(
        self, input_ids: torch.Tensor, *, cache: "Cache | None" = None, **behind: Any
    ) -> torch.Tensor:
        """Feed tokens through the body.

        Args:
            input_ids: int, shape `(batch, position)`. Right-padded causal rows need no mask.
            cache: keys and values of what stands before; grows by `position`. Without one nothing
                is kept.
            behind: beside a cache, `position_ids` of shape `(batch or 1, position)`, and an
                `attention_mask` of `kinds`: scaled_dot_product_attention would see only the last
                keys.

        Returns:
            The last hidden states, shape `(batch, position, hidden)`; of a model whose logits do
            not follow from them, the logits.
        """
        if cache is not None:
            behind["past_key_values"] = cache
        return self._fed(input_ids, use_cache=cache is not None, **behind)[0]

    def own_states(
        self, input_ids: torch.Tensor, cache: Any = None, **behind: torch.Tensor
    ) -> tuple[torch.Tensor, Any]:
        """Feed tokens as the model does by itself, behind a cache that it made.

        Args:
            input_ids: int, shape `(batch, position)`.
            cache: what earlier calls returned for what stands before.
            behind: beside a cache with padding, `position_ids` of the shape of `input_ids`, and an
                `attention_mask` of shape `(batch, position in the cache and behind it)`.

        Returns:
            States as of `hidden_states`, and the cache; None where the cache does not serve, so
            that everything is fed again.
        """
        if not self.can_copy_cache:
            return self._fed(input_ids, use_cache=False)[0], None
        return self._fed(input_ids, use_cache=True, **{self._cache_name: cache}, **behind)

    def _fed(self, input_ids: torch.Tensor, **arguments: Any) -> tuple[torch.Tensor, Any]:
        with self._turn:
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
        """Next-token logits in float32, shape `(..., vocabulary)`, of `(..., hidden)`."""
        if self.logits_source == "layer":
            return self._head(hidden_states).float()
        if self.logits_source == "model":
            return self._logits_of_whole_model(hidden_states)
        return hidden_states.float()

    def check_finite(self, values: torch.Tensor) -> None:
        """Refuse a model that gives such states or logits.

        Raises:
            OverflowingModelError: they are not finite.
        """
        if not values.isfinite().all():
            remedy = "Copy or save them again"
            if self.precision != "float32":
                remedy += ", or set language_model.precision to auto or float32"
            raise OverflowingModelError(
                f"The model {self.name!r} gives numbers that are not finite. Its weights "
                f"(*.safetensors) are damaged, or overflow in {self.precision}. {remedy}."
            )

    def _logits_of_whole_model(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The model's own forward pass, in which the body is told what it has computed already."""
        from transformers.modeling_outputs import BaseModelOutputWithPast

        flat = hidden_states.reshape(1, -1, hidden_states.shape[-1])
        known: Any = BaseModelOutputWithPast(last_hidden_state=flat)
        ids = torch.zeros(flat.shape[:2], dtype=torch.long, device=flat.device)
        with self._turn:
            # An attribute of the instance, which hides the class's method until it is deleted.
            self._body.forward = lambda *_, **__: known
            try:
                logits = self.model(input_ids=ids, use_cache=False).logits
            finally:
                del self._body.forward
        return logits.reshape(*hidden_states.shape[:-1], -1).float()


def check_length(model: Network, tokens: int) -> None:
    """Raise if a row of so many tokens is longer than a model's context.

    Raises:
        SequenceTooLongError: most models would give numbers all the same.
    """
    if tokens > model.context_length:
        raise SequenceTooLongError(
            f"A row of {tokens} tokens is too long for the model {model.name!r}. Expected at most "
            f"{model.context_length}. Shorten the text (corpus.window_tokens), or the prompt."
        )


def _enough_memory(name: str, device: str) -> AbstractContextManager[None]:
    return out_of_memory_as(
        OutOfMemoryError,
        f"The memory of device {device!r} does not hold the model {name!r}. Take a smaller model "
        "(language_model.path), a precision of 16 bits (language_model.precision) or a device "
        "with more memory (language_model.device), or end what else uses it.",
    )
