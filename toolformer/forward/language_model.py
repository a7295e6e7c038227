"""A Hugging Face causal language model with its tokenizer, as the engine uses it.

Weights are read from safetensors only: a pickled checkpoint can run code when it is opened.
"""

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolformer.errors import ModelNotFoundError
from toolformer.files.loading import loading, prepare_transformers
from toolformer.forward.devices import resolve_device
from toolformer.forward.model_directory import (
    check_all_read,
    check_model_directory,
    check_sizes,
    check_weight_files,
    refused,
)
from toolformer.forward.precision import PrecisionChoice, check_computable
from toolformer.forward.tokenization import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import Cache, PreTrainedConfig, PreTrainedModel

_LOGGER = logging.getLogger(__name__)
# Rows of the output layer computed at once: bounds the memory of full-vocabulary logits.
# More than 32 MiB at once are taken from the system, and given back, for every piece.
LOGIT_ROWS = 128
_DEFAULT_CONTEXT = 2048
# How far apart states with and without a cache may lie on the probe: the mean over tokens of the
# relative distance, by precision. Rounding of many layers stays well below; a token that sees
# the wrong ones, or stands at the wrong place, is off by a fifth and more.
_PROBE_TOLERANCES = {"float32": 1e-3, "bfloat16": 0.08, "float16": 0.02}


class LanguageModel:
    """A causal language model in evaluation mode.

    Attributes:
        bos_id: the token put in front of every scored text, so that its first token has a
            probability (spec §1.9, item 4).
        prompt_start: stands in front of few-shot prompts: the start token where the tokenizer
            itself puts one in front of every text, else nothing.
        context_length: most tokens the model takes, and no more than a sliding window holds.
        key_bytes: bytes of one token's keys and values in all layers.
        tokens_fed: token positions fed through the body so far, padding included. The cost of the
            method is counted in these.
        choice: the measurement that settled its precision; None where the precision was named.
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
        self.prompt_start = [self.bos_id] if tokenizer.start_ids else []
        if not tokenizer.start_ids and bos_token is None:
            start = tokenizer.token_text(self.bos_id)
            _LOGGER.info("%s puts no start token in front of texts: %r is taken", name, start)
        self._check_vocabulary()
        self.context_length = _context_length(self.text_config, name)
        self.tokens_fed = 0
        self.choice: PrecisionChoice | None = None
        # A tool's call that came too late goes on in its thread while other passes begin.
        self._turn = threading.Lock()
        self._body: Any = model.base_model
        self._head: Any = model.get_output_embeddings()
        with loading(f"The {type(model).__name__} {name!r}", _unserved):
            self._check_head()
            self._check_cache()

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        precision: str = "float32",
        device: str = "auto",
        bos_token: str | None = None,
    ) -> "LanguageModel":
        """Load a model directory.

        Args:
            path: a directory as `save_pretrained` writes it.
            precision: `float32` or `bfloat16`.
            device: `auto`, `cpu` or a CUDA device.
            bos_token: text of the token to put in front of scored texts; by default the one that
                the tokenizer itself puts there. Where it puts none, `<|endoftext|>` if the
                vocabulary has it, else the tokenizer's own.

        Raises:
            ModelNotFoundError: the directory holds no model, or one that cannot be used, or the
                device does not compute in this precision.
        """
        check_model_directory(path)
        prepare_transformers()
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        device = resolve_device(device)
        check_computable(device, precision)
        with loading(f"The configuration {str(path / 'config.json')!r}", refused):
            config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        check_sizes(config, path)
        check_weight_files(path)
        # What is wrong with the vocabulary is said before the weights are read.
        tokenizer = load_tokenizer(path)
        _bos_id(tokenizer, bos_token)
        field = " with quantization_config" if hasattr(config, "quantization_config") else ""
        what = f"The model in {str(path)!r} (config.json{field}, *.safetensors)"
        with loading(what, refused):
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
        return cls(model.to(device), tokenizer, name=path.name, bos_token=bos_token)

    @property
    def device(self) -> "torch.device":
        """Where the weights lie."""
        return self.model.device

    @property
    def text_config(self) -> "PreTrainedConfig":
        """What the configuration says of the part that writes; models with images nest it."""
        return self.model.config.get_text_config(decoder=True)

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
        with self._turn:
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
        if self._is_head_whole:
            return self._head(hidden_states).float()
        return self._logits_of_whole_model(hidden_states)

    def _check_vocabulary(self) -> None:
        # Special tokens never come from text, and a checkpoint may have more of them than it feeds.
        beyond = {
            token: text
            for text, token in self.tokenizer.backend.get_vocab().items()
            if token >= self.text_config.vocab_size
            and (token == self.bos_id or token not in self.tokenizer.special_ids)
        }
        if beyond:
            raise ModelNotFoundError(
                f"The tokenizer.json of {self.name!r} has the token {max(beyond)} "
                f"({beyond[max(beyond)]!r}), and the model only {self.text_config.vocab_size} "
                "(vocab_size in its config.json). Expected the tokenizer that it was trained with."
            )

    def _check_head(self) -> None:
        """Body and what turns its states into logits must give what the model gives whole.

        Some architectures scale or cap their logits after the output layer: their own forward pass
        does it then.
        """
        import torch

        probe = torch.tensor([[self.bos_id, 1, 2, 3]], device=self.device)
        with torch.inference_mode():
            hidden = self._body(input_ids=probe, use_cache=False).last_hidden_state
            whole = self.model(input_ids=probe, use_cache=False).logits.float()
            if not whole.isfinite().all():
                raise ModelNotFoundError(
                    f"The model {self.name!r} gives logits that are not finite. Its weights "
                    f"(*.safetensors) are damaged, or overflow in {self.precision}."
                )
            for self._is_head_whole in (True, False):
                if torch.allclose(self.logits(hidden), whole, atol=1e-3, rtol=1e-3):
                    return
        raise _unserved(
            f"The model class {type(self.model).__name__} gives other logits than its output layer "
            "gives on its last hidden states, and this engine reads logits from those"
        )

    def _logits_of_whole_model(self, hidden_states: "torch.Tensor") -> "torch.Tensor":
        """The model's own forward pass, in which the body is told what it has computed already."""
        import torch
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

    def _check_cache(self) -> None:
        """Branches side by side behind a cache must give what each gives alone.

        Models that keep states instead of keys, or make masks of their own, do not.
        """
        import torch
        from transformers import DynamicCache

        shared, branches = self._probe_row(6), self._probe_row(4)[1:]
        length = len(shared)
        visible = torch.ones((length + 4, length + 4), dtype=torch.bool).tril()
        visible[length + 2 :, length : length + 2] = False
        mask = additive_mask(visible, self)
        places = torch.tensor([*range(length), *(length, length + 1) * 2])
        cache, fed = DynamicCache(), self.tokens_fed
        with torch.inference_mode():
            alone = [self._row([*shared, *branches[start : start + 2]]) for start in (0, 2)]
            expected = self.hidden_states(torch.cat(alone))[:, length:].flatten(0, 1)
            for part, keys in ((slice(length), length), (slice(length, None), length + 4)):
                states = self.hidden_states(
                    self._row([*shared, *branches][part]).expand(2, -1),
                    cache=cache,
                    attention_mask=mask[None, None, part, :keys],
                    position_ids=places[None, part].to(self.device),
                )
        self.tokens_fed = fed
        layers: list[Any] = list(cache.layers)
        held = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)
        self.key_bytes = held // (2 * len(places))
        if not self._are_close(states[1], expected):
            raise _unserved(
                f"The model class {type(self.model).__name__} gives other numbers behind a cache "
                "of keys than without one, and this engine computes calls behind it"
            )

    def _probe_row(self, length: int) -> list[int]:
        """The start token, and so many tokens from all over the vocabulary."""
        vocabulary = self.text_config.vocab_size
        places = range(length)
        return [
            self.bos_id,
            *((7919 * length + 104729 * position) % vocabulary for position in places),
        ]

    def _are_close(self, states: "torch.Tensor", expected: "torch.Tensor") -> bool:
        distances = (states - expected).float().norm(dim=-1) / expected.float().norm(dim=-1)
        return float(distances.mean()) < _PROBE_TOLERANCES[self.precision]

    def _row(self, ids: list[int]) -> "torch.Tensor":
        import torch

        return torch.tensor([ids], device=self.device)


def additive_mask(visible: "torch.Tensor", model: LanguageModel) -> "torch.Tensor":
    """The mask of a model by which keys its queries see, of the same shape.

    A float mask: eager attention would add a boolean one as 0 and 1.
    """
    import torch

    dtype = model.model.dtype
    mask = torch.zeros(visible.shape, dtype=dtype)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min).to(model.device)


def _unserved(reason: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"{reason}. Use a Llama-, Qwen-, Gemma-, GPT-NeoX- or GPT-2-like model."
    )


def _context_length(config: "PreTrainedConfig", name: str) -> int:
    length = getattr(config, "max_position_embeddings", None)
    if length is None:
        length = _DEFAULT_CONTEXT
        _LOGGER.warning(
            "config.json of %s has no max_position_embeddings: taken as %d", name, length
        )
    # The engine's own masks, behind a cache, take the place of the model's and show all keys.
    for field in ("sliding_window", "attention_chunk_size", "window_size", "local_attention"):
        if (window := getattr(config, field, None) or length) < length:
            length = window
            _LOGGER.warning("%s is fed at most %d tokens, its %s", name, window, field)
    return length


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
    if len(tokenizer.start_ids) > 1:
        named = ", ".join(map(tokenizer.token_text, tokenizer.start_ids))
        twice = "its start token twice" if len(set(tokenizer.start_ids)) == 1 else "several tokens"
        raise ModelNotFoundError(
            f"The tokenizer adds {twice} in front of a text ({named}), and models are trained with "
            "one or none. Correct post_processor in tokenizer.json or add_bos_token in "
            "tokenizer_config.json, or set language_model.bos_token."
        )
    if tokenizer.start_ids:
        return tokenizer.start_ids[0]
    if "<|endoftext|>" in vocabulary:
        return vocabulary["<|endoftext|>"]
    for token_id in (backend.bos_token_id, backend.eos_token_id):
        if isinstance(token_id, int):
            return token_id
    raise ModelNotFoundError(
        "The tokenizer names no beginning- or end-of-text token. Set language_model.bos_token."
    )
