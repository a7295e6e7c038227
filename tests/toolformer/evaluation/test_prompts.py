import pytest

from toolformer.evaluation.prompts import (
    completion_prompt,
    math_prompt,
    paragraph_prompt,
    question_prompt,
)


def test_completion_prompt():
    assert completion_prompt("Oslo is the capital of ") == (
        "Please complete the following text so that it is factually correct: Oslo is the capital of"
    )


def test_math_prompt():
    assert math_prompt("Ann has 2 pens.", "How many pens has she?") == (
        "Ann has 2 pens. How many pens has she? The answer is"
    )


def test_math_prompt_without_a_story_does_not_begin_with_a_space():
    assert math_prompt("", "What is 2 + 2?") == "What is 2 + 2? The answer is"


@pytest.mark.parametrize("question", ["who wrote it", "who wrote it?", " who wrote it? "])
def test_a_question_ends_with_one_question_mark(question):
    assert question_prompt(question) == "Answer the following question: who wrote it?"


def test_paragraph_prompt_keeps_the_order_of_its_parts():
    assert paragraph_prompt("Oslo is in Norway.", "¿Dónde está Oslo?") == (
        "Your task is to answer a question based on the following paragraph: Oslo is in Norway. "
        "Now answer the following question in English: ¿Dónde está Oslo?"
    )


def test_braces_in_the_inserted_text_are_kept():
    assert completion_prompt("a {text} {0} b").endswith("a {text} {0} b")
    assert math_prompt("{question}", "{text}") == "{question} {text} The answer is"
