"""Which texts are worth annotating with translations (paper, appendix A).

A text is taken if one of its paragraphs has a chunk of ten tokens in another language, with English
text before and after it.

The paper does not say what a token is. Here it is what stands between white space, and a paragraph
is a line, as in CCNet. "English text" is a chunk whose likeliest language is English, however
likely; chunks without a letter, of numbers and special symbols alone, count neither way.
"""

from tools.protocol import Document, Preselection
from tools.translation.identification import Guess, guess_language
from tools.translation.languages import ENGLISH

CHUNK_TOKENS = 10


def preselect_by_language(document: Document) -> Preselection:
    """Decide whether a text is worth annotating with translations.

    Returns:
        The decision, with reason `foreign_text_between_english`, `no_english_around` (there is
        foreign text inside a paragraph), `no_foreign_text_inside` or `no_long_paragraph`.

    Example:
        >>> text = "The sign at the gate says this in large blue letters: Se ruega no dar de " + (
        ...     "comer a las palomas de la plaza, gracias. I read it twice and put my sandwich "
        ...     "back into the bag."
        ... )
        >>> preselect_by_language(Document("example", text)).reason
        'foreign_text_between_english'
    """
    reason = "no_long_paragraph"
    for paragraph in document.text.splitlines():
        chunks = _chunks(paragraph)
        # Something before, something foreign, something after.
        if len(chunks) < 3:
            continue
        guesses = [guess_language(chunk) for chunk in chunks[1:-1]]
        foreign = [
            index
            for index, guess in enumerate(guesses, start=1)
            if guess is not None and guess.is_foreign
        ]
        if foreign and _stands_between_english(foreign, chunks, guesses):
            return Preselection(is_selected=True, reason="foreign_text_between_english")
        if foreign:
            reason = "no_english_around"
        elif reason == "no_long_paragraph":
            reason = "no_foreign_text_inside"
    return Preselection(is_selected=False, reason=reason)


def _chunks(paragraph: str) -> list[str]:
    """Cut a paragraph into chunks, without those that have no letter."""
    words = paragraph.split()
    if len(words) <= 2 * CHUNK_TOKENS:
        return []
    chunks = (
        " ".join(words[start : start + CHUNK_TOKENS])
        for start in range(0, len(words), CHUNK_TOKENS)
    )
    return [chunk for chunk in chunks if any(map(str.isalpha, chunk))]


def _stands_between_english(
    foreign: list[int], chunks: list[str], guesses: list[Guess | None]
) -> bool:
    """Tell whether English chunks stand in front of one of the foreign chunks and behind it.

    Args:
        guesses: Guesses of all but the first and the last chunk, which are looked at only here:
            most paragraphs have nothing foreign between them.
    """
    all_guesses = [guess_language(chunks[0]), *guesses, guess_language(chunks[-1])]
    english = [
        index
        for index, guess in enumerate(all_guesses)
        if guess is not None and guess.language == ENGLISH
    ]
    return bool(english) and any(english[0] < index < english[-1] for index in foreign)
