import pytest

from toolformer.evaluation.prompts import question_prompt


@pytest.mark.parametrize("question", ["who wrote it", "who wrote it?", " who wrote it? "])
def test_a_question_ends_with_one_question_mark(question):
    assert question_prompt(question) == "Answer the following question: who wrote it?"


def test_braces_in_a_question_are_kept():
    assert question_prompt("what is {question} {0}").endswith(": what is {question} {0}?")
