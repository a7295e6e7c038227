"""What both translators of `MT`, `nllb` and `apertium`, say of texts that they cannot translate."""

from tools.errors import ToolCallError, ToolError


class TranslationFailedError(ToolError, RuntimeError):
    """Texts could not be translated together; each alone they may be."""


def unsupported_language(language: str, translator: str) -> ToolCallError:
    """Make the error of a text in a language that a translator does not know."""
    return ToolCallError(
        "unsupported_language",
        f"The text is in the language {language!r}, which {translator} does not translate into "
        "English. Expected another language.",
    )
