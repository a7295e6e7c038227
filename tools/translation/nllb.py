"""Translates with NLLB-200, run by transformers (paper, §3: NLLB with 600M parameters).

NLLB reads `<source language> tokens </s>` and writes `<target language> tokens </s>`; the target
language is forced to be English.
"""

import fnmatch
import textwrap
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from toolformer.base.loading import loading, out_of_memory_as, prepare_transformers
from toolformer.base.model_files import ADAPTER_FILE
from tools.errors import ToolCallError, ToolDiedError, ToolUnavailableError, TranslationFailedError
from tools.model_identity import SAFETENSORS, model_identity
from tools.translation.languages import NLLB_CODES, NLLB_ENGLISH, unsupported_language

_MODEL_FILES = ("config.json", "tokenizer.json", SAFETENSORS)
_HOW_TO_GET_A_MODEL = (
    "Set model_directory to a Hugging Face directory of NLLB-200 with "
    f"{', '.join(_MODEL_FILES)}. Convert weights in PyTorch's own format with `save_pretrained`, "
    "on a machine where you trust them. If the weights were converted for another program, name "
    "the directory that they were converted from"
)
# Maximum wait at exit for a batch that is still running.
_SECONDS_AT_EXIT = 60
_NO_MODEL = "none"


class NllbTranslator:
    """Translator with a model of the NLLB-200 family, stored by `save_pretrained`.

    If `device` is a function, it is called when the model is loaded, since a run may have to wait
    for a device.
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
        self.max_batch_size = batch_size
        self._beam_size = beam_size
        self._max_new_tokens = max_new_tokens
        self._device = device
        self._precision = precision
        self._tokenizer: Any = None
        self._model: Any = None
        self._loaded = _NO_MODEL
        # One batch at a time: the source language is a state of the tokenizer, and a call that
        # exceeds its deadline continues in its thread.
        self._lock = threading.Lock()
        # A thread that is inside the model when the interpreter exits would abort the process.
        # Taking the lock at exit waits for this batch and prevents another one.
        weakref.finalize(self, self._lock.acquire, timeout=_SECONDS_AT_EXIT)

    def identity(self) -> str:
        """Return the model's identity and how it decodes; the device does not matter."""
        return (
            f"model={self._model_identity()} beam_size={self._beam_size} "
            f"max_new_tokens={self._max_new_tokens} precision={self._precision}"
        )

    def _model_identity(self) -> str:
        if self.directory.is_dir():
            with suppress(OSError):
                return model_identity(self.directory)
        return _NO_MODEL

    def check_available(self) -> None:
        folder = self.directory
        if not folder.is_dir():
            problem = f"the directory {folder} in the option model_directory does not exist"
            raise ToolUnavailableError(self.tool_name, problem, "Correct the option, or remove it")
        found = sorted(file.name for file in folder.glob("*") if file.is_file())
        missing = [name for name in _MODEL_FILES if not fnmatch.filter(found, name)]
        if missing:
            listed = textwrap.shorten(", ".join(found) or "no files", 200, placeholder=" …")
            problem = f"the model in {folder} lacks {' and '.join(missing)}; found there: {listed}"
            raise ToolUnavailableError(self.tool_name, problem, _HOW_TO_GET_A_MODEL)
        if ADAPTER_FILE in found:
            problem = f"the model in {folder} has an adapter ({ADAPTER_FILE})"
            remedy = "Merge it into the model, and set model_directory to the merged model"
            raise ToolUnavailableError(self.tool_name, problem, remedy)

    def prepare(self) -> None:
        with self._lock:
            self._load_once()

    def translate(self, texts: Sequence[str], language: str) -> list[str | ToolCallError]:
        """Translate texts of one language; return `unsupported_language` and `too_long` as errors.

        Raise TranslationFailedError if the model fails on the batch, such as for lack of memory.
        """
        with self._lock:
            self._load_once()
            source = NLLB_CODES.get(language)
            if source is None or not self._knows(source):
                return [unsupported_language(language, "this NLLB model") for _ in texts]
            self._tokenizer.src_lang = source
            # Special tokens that a text contains are encoded as plain text.
            encoded = self._tokenizer([*texts], split_special_tokens=True)["input_ids"]
            limit = self._model.config.max_position_embeddings
            fitting = [index for index, ids in enumerate(encoded) if len(ids) <= limit]
            answers: list[str | ToolCallError] = [_too_long(len(ids), limit) for ids in encoded]
            try:
                generated = self._generate([encoded[index] for index in fitting]) if fitting else []
            except RuntimeError as error:
                raise TranslationFailedError(
                    f"The translation model failed on {len(fitting)} texts: {error}. If memory "
                    "is short, use a smaller batch_size."
                ) from error
            for index, ids in zip(fitting, generated, strict=True):
                answers[index] = self._tokenizer.decode(
                    ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
                ).strip()
            return answers

    def _load_once(self) -> None:
        """Load tokenizer and model at first use, and again if their files were replaced."""
        identity = self._model_identity()
        if self._model is not None and self._loaded == identity:
            return
        self._model = None
        self.check_available()
        no_memory = out_of_memory_as(
            ToolDiedError,
            f"The memory of the device does not hold the translation model in {self.directory}. "
            "Use a smaller one, or set tools.MT.options.precision to bfloat16 or "
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
        missing = sorted(information["missing_keys"])
        if missing:
            raise ValueError(f"the weights lack {len(missing)} tensors, such as {missing[0]}")
        num_tokens, vocabulary_size = len(self._tokenizer), model.config.vocab_size
        if num_tokens > vocabulary_size:
            raise ValueError(
                f"the tokenizer has {num_tokens} tokens, but the model only {vocabulary_size}"
            )
        device = self._device() if callable(self._device) else self._device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return model.to(device).eval()

    def _generate(self, inputs: list[list[int]]) -> list[list[int]]:
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
            self.tool_name, reason, "Restore the directory, or set model_directory to another one"
        )

    def _knows(self, token: str) -> bool:
        # `get_vocab` is avoided, because it builds a new mapping of the whole vocabulary each time.
        return self._tokenizer.convert_tokens_to_ids(token) != self._tokenizer.unk_token_id


def _too_long(tokens: int, limit: int) -> ToolCallError:
    return ToolCallError(
        "too_long",
        f"The text has {tokens} tokens of the translation model. Expected at most {limit}.",
    )
