"""The zero-shot task prompt of the benchmarks with questions.

The paper's listing ends it with a full stop; it is left out here, since a text to be completed
cannot end with one. It does not end with a space: the model writes it itself.

Does not hold the few-shot prompts for annotation, and gives no hint that tools exist.
"""

QUESTION_PROMPT = "Answer the following question: {question}"


def question_prompt(question: str) -> str:
    """Ask a question without context (WebQS, NQ, TriviaQA, DATESET).

    Args:
        question: The question; a question mark is appended where it does not end with one.

    Returns:
        The prompt.

    Paper: section 4.2.3 and the appendix on zero-shot prompts.

    Example:
        >>> question_prompt("where is the louvre")
        'Answer the following question: where is the louvre?'
    """
    question = question.strip()
    if not question.endswith("?"):
        question += "?"
    return QUESTION_PROMPT.format(question=question)
