"""The zero-shot task prompts of the benchmarks.

The paper's listing ends every prompt with a full stop; it is left out here, since a text to be
completed cannot end with one. No prompt ends with a space: the model writes it itself.

Does not hold the few-shot prompts for annotation, and gives no hint that tools exist.
"""

COMPLETION_PROMPT = "Please complete the following text so that it is factually correct: {text}"
MATH_PROMPT = "{text} {question} The answer is"
QUESTION_PROMPT = "Answer the following question: {question}"
PARAGRAPH_PROMPT = (
    "Your task is to answer a question based on the following paragraph: {paragraph} "
    "Now answer the following question in English: {question}"
)


def completion_prompt(text: str) -> str:
    """Ask for the continuation of a text (LAMA, TempLAMA).

    Args:
        text: The statement up to the missing word.

    Returns:
        The prompt.

    Paper: section 4.2.1 and the appendix on zero-shot prompts.
    """
    return COMPLETION_PROMPT.format(text=text.strip())


def math_prompt(text: str, question: str) -> str:
    """Ask for the number that solves a word problem (ASDiv, SVAMP, MAWPS).

    Args:
        text: The story; may be empty where the question tells it.
        question: The question about it.

    Returns:
        The prompt.

    Paper: section 4.2.2 and the appendix on zero-shot prompts.
    """
    return MATH_PROMPT.format(text=text.strip(), question=question.strip()).lstrip()


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


def paragraph_prompt(paragraph: str, question: str) -> str:
    """Ask, in any language, a question about an English paragraph (MLQA).

    Args:
        paragraph: The paragraph that holds the answer.
        question: The question; the answer is wanted in English.

    Returns:
        The prompt.

    Paper: section 4.2.4 and the appendix on zero-shot prompts.
    """
    return PARAGRAPH_PROMPT.format(paragraph=paragraph.strip(), question=question.strip())
