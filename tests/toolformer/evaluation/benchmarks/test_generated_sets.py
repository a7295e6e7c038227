"""The sets `sums` and `facts`, which the project makes itself."""

import csv
import json
import re
from pathlib import Path

from tests.toolformer.evaluation.benchmarks.question_files import items_of
from toolformer.home.wiring.benchmarks import configured_benchmark
from toolformer.settings.corpus_sections import STARTER_PEOPLE
from toolformer.settings.sections import Settings
from toolformer.sources.files import built_in_path
from tools.calculator import Calculator
from tools.protocol import Document


def test_each_sum_ends_where_its_result_belongs():
    sums = configured_benchmark("sums", Settings())
    items = items_of(sums)
    assert len(items) == len({item.prompt for item in items}) == 40
    for item in items:
        expression = re.search(r"(\d+ [-+*/] \d+) =$", item.prompt)
        assert expression, item.prompt
        result = Calculator().call(expression[1], Document("sums", ""))
        assert item.gold == (result,)
        assert sums.score(item, f" {result} crowns")
        assert not sums.score(item, f" {int(result) + 1} crowns")


def test_the_facts_that_are_asked_are_of_the_table_and_of_people_that_no_text_names():
    folder: Path = built_in_path(STARTER_PEOPLE)
    rows = (folder / "people.csv").read_text("utf-8").splitlines()
    table: dict[str, dict[str, str]] = {}
    for subject, relation, value in list(csv.reader(rows))[1:]:
        table.setdefault(subject, {})[relation] = value
    lines = (folder / "people.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    named = [[subject for subject in table if subject in text] for text in texts]
    assert [len(subjects) for subjects in named] == [1] * len(texts)
    # Each text says one fact of its person.
    for (subject,), text in zip(named, texts, strict=True):
        assert sum(text.count(value) for value in table[subject].values()) == 1, text
    facts = configured_benchmark("facts", Settings())
    items = items_of(facts)
    assert len(items) == len({item.prompt for item in items}) == 40
    for item in items:
        (subject,) = (subject for subject in table if subject in item.prompt)
        assert [subject] not in named
        assert item.gold == (table[subject][str(item.group)],)
        others = {value for value in table[subject].values() if value not in item.gold}
        assert facts.score(item, f" {item.gold[0]}, as all know.")
        assert not any(facts.score(item, f" {other}, as all know.") for other in others)
