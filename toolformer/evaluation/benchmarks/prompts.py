"""The zero-shot task prompts of the paper's appendix.

The paper's listings end them with a full stop; it is left out here, since a text to be completed
cannot end with one. They do not end with a space: the model writes it itself.
"""

from toolformer.settings.evaluation_sections import QUESTION_PROMPT

CLOZE_PROMPT = "Please complete the following text so that it is factually correct: {question}"
PROBLEM_PROMPT = "{question} The answer is"
PARAGRAPH_PROMPT = (
    "Your task is to answer a question based on the following paragraph: {context} "
    "Now answer the following question in English: {question}"
)


def question_prompt(question: str) -> str:
    """Ask a question without context, with a question mark behind it (paper, section 4.2.3)."""
    question = question.strip()
    if not question.endswith("?"):
        question += "?"
    return QUESTION_PROMPT.format(question=question)
