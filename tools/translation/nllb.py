"""Translation by NLLB-200, whatever runs the model (paper, section 3: NLLB with 600M parameters).

NLLB reads `<source language> tokens </s>` and writes `<target language> tokens </s>`; the target
language is forced, always English. Does not run the model: subclasses do.
"""

import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from toolformer.ground.loading import loading
from tools.errors import ToolCallError, ToolUnavailableError
from tools.model_identity import model_identity
from tools.translation.languages import NLLB_CODES, NLLB_ENGLISH
from tools.translation.model_directory import check_translation_model
from tools.translation.translator import TranslationFailedError, unsupported_language

# Longest wait at exit for a batch that was left behind.
_SECONDS_AT_EXIT = 60


@dataclass(frozen=True, slots=True)
class NllbOptions:
    """How translations are decoded.

    Attributes:
        beam_size: Hypotheses kept while searching; 1 is greedy decoding.
        max_new_tokens: Longest translation; a longer one ends there.
        batch_size: Texts translated together; does not change what they become.
        device: `auto`, `cpu`, a CUDA device such as `cuda:0`, or what gives one.
        precision: `float32`, `bfloat16` or `float16`.
    """

    beam_size: int
    max_new_tokens: int
    batch_size: int
    device: str | Callable[[], str]
    precision: str


class NllbTranslator(ABC):
    """A model of the NLLB-200 family in a local directory. Subclasses load and run it.

    Args:
        tool_name: The tool that translates, for errors.
        directory: Holds the model and its `tokenizer.json`.
        options: How to decode.
    """

    weight_patterns: ClassVar[tuple[str, ...]]
    how_to_get_weights: ClassVar[str]

    def __init__(self, tool_name: str, directory: Path, options: NllbOptions) -> None:
        self.tool_name = tool_name
        self.directory = directory
        self.options = options
        self._tokenizer: Any = None
        self._model: Any = None
        # A call that exceeds its deadline is left behind in its thread, and the tokenizer has the
        # source language as state: one batch at a time.
        self._lock = threading.Lock()
        # Nor may such a thread be inside the model when the interpreter goes: that aborts the
        # process. The lock is taken at exit, and no further batch begins.
        weakref.finalize(self, self._lock.acquire, timeout=_SECONDS_AT_EXIT)

    @property
    def texts_at_once(self) -> int:
        """Most texts that `translate` takes."""
        return self.options.batch_size

    def identity(self) -> str:
        """Name the model and the decoding; the device does not belong to it."""
        options = self.options
        model = "none"
        if self.directory.is_dir():
            with suppress(OSError):
                model = model_identity(self.directory, self.weight_patterns)
        return (
            f"model={model} "
            f"beam_size={options.beam_size} max_new_tokens={options.max_new_tokens} "
            f"precision={options.precision}"
        )

    def check_available(self) -> None:
        """Check that the files are there.

        Raises:
            ToolUnavailableError: When one is missing.
        """
        check_translation_model(
            self.directory,
            tool_name=self.tool_name,
            weight_patterns=self.weight_patterns,
            remedy=self.how_to_get_weights,
        )

    def prepare(self) -> None:
        """Load tokenizer and model, unless that was done.

        Raises:
            ToolUnavailableError: When the model cannot be loaded.
        """
        with self._lock:
            self._load_once()

    def translate(self, texts: Sequence[str], language: str) -> list[str | ToolCallError]:
        """Translate texts of one language in one batch.

        Args:
            texts: At most `texts_at_once`.
            language: fastText's code.

        Returns:
            The translations in order. The error of a text has reason `unsupported_language`, or
            `too_long` when it has more tokens than the model takes.

        Raises:
            TranslationFailedError: When the model fails on the batch, for lack of memory say.
            ToolUnavailableError: When the model cannot be loaded.
        """
        with self._lock:
            self._load_once()
            source = NLLB_CODES.get(language)
            if source is None or not self._knows(source):
                return [unsupported_language(language, "this NLLB model") for _ in texts]
            self._tokenizer.src_lang = source
            # A text that spells a special token is translated like any other.
            fed = self._tokenizer(list(texts), split_special_tokens=True)
            encoded = [list(ids) for ids in fed["input_ids"]]
            limit = self.longest_input()
            fitting = [place for place, ids in enumerate(encoded) if len(ids) <= limit]
            answers: list[str | ToolCallError] = [
                _too_long(len(ids), limit) if len(ids) > limit else "" for ids in encoded
            ]
            try:
                generated = self.generate([encoded[place] for place in fitting]) if fitting else []
            except RuntimeError as error:
                raise TranslationFailedError(
                    f"The translation model failed on {len(fitting)} texts: {error}. Use a "
                    "smaller batch_size where memory is short."
                ) from error
            for place, ids in zip(fitting, generated, strict=True):
                answers[place] = self._tokenizer.decode(
                    ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
                ).strip()
            return answers

    @abstractmethod
    def load(self) -> Any:
        """Load the model.

        Returns:
            The model, kept for `generate`.

        Raises:
            Exception: Of any class, when it cannot be loaded.
        """

    @abstractmethod
    def generate(self, inputs: list[list[int]]) -> list[list[int]]:
        """Translate token ids, all inputs in one batch; special tokens may be in the outputs."""

    @abstractmethod
    def longest_input(self) -> int:
        """Most tokens of an input, special ones included."""

    def device(self) -> str:
        """Where the model is loaded; to be asked then, since a run may wait for its device."""
        device = self.options.device
        return device() if callable(device) else device

    @property
    def model(self) -> Any:
        """The loaded model."""
        return self._model

    @property
    def tokenizer(self) -> Any:
        """The loaded tokenizer."""
        return self._tokenizer

    def _load_once(self) -> None:
        """Load tokenizer and model on first use."""
        if self._model is not None:
            return
        self.check_available()
        with loading(f"the model in {self.directory}", self._unavailable):
            self._tokenizer = _load_tokenizer(self.directory)
            if not self._knows(NLLB_ENGLISH):
                raise ValueError(f"the tokenizer has no token {NLLB_ENGLISH}")
            self._model = self.load()

    def _unavailable(self, reason: str) -> ToolUnavailableError:
        return ToolUnavailableError(
            self.tool_name,
            reason,
            "Restore the directory from where it came, or name another in model_directory",
        )

    def _knows(self, token: str) -> bool:
        # Not by the vocabulary: transformers makes a new mapping of it each time.
        return self._tokenizer.convert_tokens_to_ids(token) != self._tokenizer.unk_token_id


def _load_tokenizer(directory: Path) -> Any:
    from transformers import NllbTokenizer

    return NllbTokenizer.from_pretrained(directory, local_files_only=True)


def _too_long(tokens: int, limit: int) -> ToolCallError:
    return ToolCallError(
        "too_long",
        f"The text has {tokens} tokens of the translation model. Expected at most {limit}.",
    )
