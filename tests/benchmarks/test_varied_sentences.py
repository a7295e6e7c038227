"""The forms of the benchmark are new to the model that it measures."""

import json
from importlib.resources import files

import pytest

from benchmarks.varied_sentences import FACTS, PEOPLE, items
from toolformer.evaluation.scoring import normalised_words
from tools.calculator import Calculator
from tools.protocol import Document

# The longest run of words that a form may share with a text of the demo.
_SHARED_WORDS = 5
_STARTERS = ("starter_texts", "starter_sums", "starter_people", "starter_articles")


@pytest.fixture(scope="module")
def benchmark_identities() -> list[str]:
    """Texts that the demo trains on, and prompts that it evaluates."""
    package = files("toolformer")
    lines = [
        line
        for folder in _STARTERS
        for file in package.joinpath(folder).iterdir()
        if file.name.endswith(".jsonl")
        for line in file.read_text("utf-8").splitlines()
    ]
    asked = [
        line
        for name in ("sums.jsonl", "facts.jsonl")
        for line in package.joinpath("evaluation/benchmarks", name).read_text().splitlines()
    ]
    return [json.loads(line).get("text") or json.loads(line)["question"] for line in lines + asked]


def test_every_form_is_asked_ten_times_and_every_question_twice():
    counts: dict[tuple[str, str], int] = {}
    for item in items():
        counts[item.kind, item.form] = counts.get((item.kind, item.form), 0) + 1
    by_kind = {kind: [n for (k, _), n in counts.items() if k == kind] for kind, _ in counts}
    assert by_kind == {"sums": [10] * 20, "facts": [10] * 10, "questions": [2] * 10}


def test_no_form_and_no_person_is_known_to_the_model(benchmark_identities):
    assert not [name for name in PEOPLE for text in benchmark_identities if name in text]
    known = {
        tuple(words[start : start + _SHARED_WORDS + 1])
        for text in benchmark_identities
        for words in [normalised_words(text)]
        for start in range(len(words) - _SHARED_WORDS)
    }
    for item in items():
        words = normalised_words(item.prompt)
        for start in range(len(words) - _SHARED_WORDS):
            assert tuple(words[start : start + _SHARED_WORDS + 1]) not in known, item.prompt


def test_arguments_of_sums_compute_to_their_answers():
    for item in items():
        if item.arguments.split(", ")[-1] not in FACTS:
            assert Calculator().call(item.arguments, Document("form", "")) == item.answer
