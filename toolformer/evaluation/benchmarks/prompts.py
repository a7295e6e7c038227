"""The zero-shot task prompts of the paper's appendix.

The paper's listings end them with a full stop; it is left out here, since a text to be completed
cannot end with one. They do not end with a space: the model writes it itself.
"""

from toolformer.evaluation.benchmarks.rows import InvalidRowError, LeftOutRowError, excerpt
from toolformer.evaluation.scoring import normalised_words

QUESTION_PROMPT = "Answer the following question: {question}"
CLOZE_PROMPT = "Please complete the following text so that it is factually correct: {question}"
PROBLEM_PROMPT = "{question} The answer is"
PARAGRAPH_PROMPT = (
    "Your task is to answer a question based on the following paragraph: {context} "
    "Now answer the following question in English: {question}"
)


def question_prompt(question: str) -> str:
    """Ask a question without context (WebQS, NQ, TriviaQA, DATESET).

    Args:
        question: The question; a question mark is appended where it does not end with one.

    Paper: section 4.2.3.

    Example:
        >>> question_prompt("where is the louvre")
        'Answer the following question: where is the louvre?'
    """
    question = question.strip()
    if not question.endswith("?"):
        question += "?"
    return QUESTION_PROMPT.format(question=question)


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
