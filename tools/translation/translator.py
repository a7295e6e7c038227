"""What a translator is: the interface between `MT` and the programs and models that translate.

Does not implement one; `nllb` and `apertium` do.
"""

from collections.abc import Sequence
from typing import Protocol

from tools.errors import ToolCallError, ToolError


class TranslationFailedError(ToolError, RuntimeError):
    """Texts could not be translated together; each alone they may be."""


class Translator(Protocol):
    """Translates texts of one language into English."""

    @property
    def texts_at_once(self) -> int:
        """Most texts that `translate` takes."""
        ...

    def identity(self) -> str:
        """Everything that translations depend on; never fails, also where nothing is installed."""
        ...

    def check_available(self) -> None:
        """Raise ToolUnavailableError when it cannot run, without loading anything large."""
        ...

    def prepare(self) -> None:
        """Load what translating needs, unless that was done."""
        ...

    def translate(self, texts: Sequence[str], language: str) -> list[str | ToolCallError]:
        """Translate texts.

        Args:
            texts: Lines of text without control characters.
            language: fastText's code of their language.

        Returns:
            One entry per text, in order: the translation, or the error of that text.

        Raises:
            TranslationFailedError: When the texts could not be translated together.
            ToolTimeoutError: When it took too long.
            ToolUnavailableError: When the translator cannot run at all.
        """
        ...


def unsupported_language(language: str, translator: str) -> ToolCallError:
    """Make the error of a text in a language that a translator does not know.

    Args:
        language: fastText's code.
        translator: Its name for people.

    Returns:
        An error with reason `unsupported_language`.
    """
    return ToolCallError(
        "unsupported_language",
        f"The text is in the language {language!r}, which {translator} does not translate into "
        "English. Expected another language.",
    )
