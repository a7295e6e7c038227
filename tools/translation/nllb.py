"""Translation by NLLB-200, run by transformers (paper, section 3: NLLB with 600M parameters).

NLLB reads `<source language> tokens </s>` and writes `<target language> tokens </s>`; the target
language is forced, always English.
"""

import textwrap
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from toolformer.base.beside_models import ADAPTER_FILE
from toolformer.base.loading import enough_memory, loading, prepare_transformers
from tools.errors import ToolCallError, ToolDiedError, ToolUnavailableError, TranslationFailedError
from tools.model_identity import SAFETENSORS, model_identity
from tools.translation.languages import NLLB_CODES, NLLB_ENGLISH, unsupported_language

_MODEL_FILES = ("config.json", "tokenizer.json", SAFETENSORS)
_HOW_TO_GET_A_MODEL = (
    "Name in model_directory a Hugging Face directory of NLLB-200, with "
    f"{', '.join(_MODEL_FILES)}. Weights in PyTorch's own format are converted once by "
    "`save_pretrained`, on a machine where you trust them. Where the weights were converted for "
    "another program, name the directory that they were converted from"
)
# Names of other files that an error lists, in characters.
_MAX_LISTED = 200
# Longest wait at exit for a batch that was left behind.
_SECONDS_AT_EXIT = 60
_NO_MODEL = "none"


class NllbTranslator:
    """A model of the NLLB-200 family in a local directory.

    Args:
        directory: As `save_pretrained` writes it: config.json, tokenizer.json, *.safetensors.
        batch_size: Most texts that `translate` takes.
        device: Where the model is loaded; a function is asked then, since a run may wait for its
            device.
    """

    def __init__(
        self,
        tool_name: str,
        directory: Path,
        *,
        beam_size: int,
        max_new_tokens: int,
        batch_size: int,
        device: str | Callable[[], str],
        precision: str,
    ) -> None:
        self.tool_name = tool_name
        self.directory = directory
        self.texts_at_once = batch_size
        self._beam_size = beam_size
        self._max_new_tokens = max_new_tokens
        self._device = device
        self._precision = precision
        self._tokenizer: Any = None
        self._model: Any = None
        self._loaded = _NO_MODEL
        # A call that exceeds its deadline is left behind in its thread, and the tokenizer has the
        # source language as state: one batch at a time.
        self._lock = threading.Lock()
        # Nor may such a thread be inside the model when the interpreter goes: that aborts the
        # process. The lock is taken at exit, and no further batch begins.
        weakref.finalize(self, self._lock.acquire, timeout=_SECONDS_AT_EXIT)

    def identity(self) -> str:
        """Name the model and the decoding; the device does not belong to it."""
        return (
            f"model={self._model_identity()} "
            f"beam_size={self._beam_size} max_new_tokens={self._max_new_tokens} "
            f"precision={self._precision}"
        )

    def _model_identity(self) -> str:
        if self.directory.is_dir():
            with suppress(OSError):
                return model_identity(self.directory)
        return _NO_MODEL

    def check_available(self) -> None:
        """Check that the files are there."""
        directory = self.directory
        if not directory.is_dir():
            raise ToolUnavailableError(
                self.tool_name,
                f"there is no directory {directory}, which the option model_directory names",
                "Correct the option, or remove it",
            )
        missing = [
            pattern
            for pattern in _MODEL_FILES
            if not any(file.is_file() for file in directory.glob(pattern))
        ]
        if missing:
            names = ", ".join(sorted(file.name for file in directory.glob("*"))) or "no files"
            raise ToolUnavailableError(
                self.tool_name,
                f"the model in {directory} lacks {' and '.join(missing)}; found there: "
                f"{textwrap.shorten(names, _MAX_LISTED, placeholder=' …')}",
                _HOW_TO_GET_A_MODEL,
            )
        if (directory / ADAPTER_FILE).exists():
            raise ToolUnavailableError(
                self.tool_name,
                f"the model in {directory} has an adapter ({ADAPTER_FILE})",
                "Merge it into the model, and name the folder in which that is saved",
            )

    def prepare(self) -> None:
        """Load tokenizer and model, unless those that are there now are loaded."""
        with self._lock:
            self._load_once()

    def translate(self, texts: Sequence[str], language: str) -> list[str | ToolCallError]:
        """Translate texts of one language in one batch.

        Returns:
            The translations in order. The error of a text has reason `unsupported_language`, or
            `too_long` when it has more tokens than the model takes.

        Raises:
            TranslationFailedError: When the model fails on the batch, for lack of memory say.
            ToolUnavailableError: When the model cannot be loaded.
            ToolDiedError: When memory does not hold the model.
        """
        with self._lock:
            self._load_once()
            source = NLLB_CODES.get(language)
            if source is None or not self._knows(source):
                return [unsupported_language(language, "this NLLB model") for _ in texts]
            self._tokenizer.src_lang = source
            # A text that spells a special token is translated like any other.
            encoded = self._tokenizer([*texts], split_special_tokens=True)["input_ids"]
            limit = self._model.config.max_position_embeddings
            fitting = [index for index, ids in enumerate(encoded) if len(ids) <= limit]
            answers: list[str | ToolCallError] = [
                _too_long(len(ids), limit) if len(ids) > limit else "" for ids in encoded
            ]
            try:
                generated = self._generate([encoded[index] for index in fitting]) if fitting else []
            except RuntimeError as error:
                raise TranslationFailedError(
                    f"The translation model failed on {len(fitting)} texts: {error}. Use a "
                    "smaller batch_size where memory is short."
                ) from error
            for index, ids in zip(fitting, generated, strict=True):
                answers[index] = self._tokenizer.decode(
                    ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
                ).strip()
            return answers

    def _load_once(self) -> None:
        """Load tokenizer and model on first use, and anew where others took their place."""
        identity = self._model_identity()
        if self._model is not None and self._loaded == identity:
            return
        self._model = None
        self.check_available()
        no_memory = enough_memory(
            ToolDiedError,
            f"The memory of the device does not hold the translation model in {self.directory}. "
            "Take a smaller one, or set tools.MT.options.precision to bfloat16 or "
            "language_model.device to cpu.",
        )
        with no_memory, loading(f"the model in {self.directory}", self._unavailable):
            prepare_transformers()
            from transformers import NllbTokenizer

            self._tokenizer = NllbTokenizer.from_pretrained(self.directory, local_files_only=True)
            if not self._knows(NLLB_ENGLISH):
                raise ValueError(f"the tokenizer has no token {NLLB_ENGLISH}")
            self._model, self._loaded = self._load_model(), identity

    def _load_model(self) -> Any:
        """Load the weights, to where they compute."""
        import torch
        from transformers import M2M100ForConditionalGeneration

        loaded: Any = M2M100ForConditionalGeneration.from_pretrained(
            self.directory,
            dtype=getattr(torch, self._precision),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
        model, information = loaded
        lacking = sorted(information["missing_keys"])
        if lacking:
            raise ValueError(f"the weights lack {len(lacking)} tensors, such as {lacking[0]}")
        vocabulary, known = len(self._tokenizer), model.config.vocab_size
        if vocabulary > known:
            raise ValueError(f"the tokenizer has {vocabulary} tokens, the model {known}")
        device = self._device() if callable(self._device) else self._device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return model.to(device).eval()

    def _generate(self, inputs: list[list[int]]) -> list[list[int]]:
        """Decode greedily or by beam search, with English forced as the first token."""
        import torch
        from transformers import GenerationConfig

        config = self._model.config
        padded = self._tokenizer.pad({"input_ids": inputs}, return_tensors="pt")
        with torch.inference_mode():
            generated = self._model.generate(
                **padded.to(self._model.device),
                generation_config=GenerationConfig(
                    do_sample=False,
                    num_beams=self._beam_size,
                    max_new_tokens=self._max_new_tokens,
                    forced_bos_token_id=self._tokenizer.convert_tokens_to_ids(NLLB_ENGLISH),
                    decoder_start_token_id=config.decoder_start_token_id,
                    bos_token_id=config.bos_token_id,
                    eos_token_id=config.eos_token_id,
                    pad_token_id=config.pad_token_id,
                ),
            )
        return generated.tolist()

    def _unavailable(self, reason: str) -> ToolUnavailableError:
        return ToolUnavailableError(
            self.tool_name,
            reason,
            "Restore the directory from where it came, or name another in model_directory",
        )

    def _knows(self, token: str) -> bool:
        # Not by the vocabulary: transformers makes a new mapping of it each time.
        return self._tokenizer.convert_tokens_to_ids(token) != self._tokenizer.unk_token_id


def _too_long(tokens: int, limit: int) -> ToolCallError:
    return ToolCallError(
        "too_long",
        f"The text has {tokens} tokens of the translation model. Expected at most {limit}.",
    )
