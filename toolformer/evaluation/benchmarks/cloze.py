"""Statements with a gap at their end (LAMA, TempLAMA).

Does not read files.
"""

from toolformer.evaluation.benchmarks.rows import InvalidRowError, LeftOutRowError, excerpt
from toolformer.evaluation.scoring import normalised_words

CLOZE_PROMPT = "Please complete the following text so that it is factually correct: {statement}"


def text_before_gap(statement: str, mask: str) -> str:
    """The part of a statement that a model continues.

    The paper asks only statements whose mask is the last token. A full stop behind it, or another
    sign that is no word, does not count: it would leave out nearly all of them.

    Args:
        statement: The statement.
        mask: What marks the gap, such as `[MASK]`.

    Returns:
        All before the mask, without white space at its end: the model writes it itself.

    Raises:
        LeftOutRowError: A word follows, or there are several gaps.
        InvalidRowError: There is no gap, or nothing before it.

    Paper: section 4.2.1.

    Example:
        >>> text_before_gap("Dante was born in [MASK] .", "[MASK]")
        'Dante was born in'
    """
    before, *after = statement.split(mask)
    if not after:
        raise InvalidRowError(f"the statement {excerpt(statement)} has no gap; expected {mask}")
    if len(after) > 1 or normalised_words(after[0]):
        raise LeftOutRowError("mask_not_last")
    if not normalised_words(before):
        raise InvalidRowError(f"the statement {excerpt(statement)} has no words before {mask}")
    return before.strip()


def cloze_prompt(statement: str) -> str:
    """The prompt of a statement that ends where the gap is.

    The paper's listing ends it with a full stop; see `toolformer.evaluation.prompts`.

    Paper: sections 4.2.1 and 4.2.5, and the appendix on zero-shot prompts.

    Example:
        >>> cloze_prompt("Dante was born in")
        'Please complete the following text so that it is factually correct: Dante was born in'
    """
    return CLOZE_PROMPT.format(statement=statement)
