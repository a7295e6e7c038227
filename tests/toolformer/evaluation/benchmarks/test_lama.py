import csv
import datetime
import json
from dataclasses import replace

import pytest

from tests.toolformer.evaluation.benchmarks.question_files import (
    items_of,
    left_out_of,
    write_json,
    write_lines,
)
from toolformer.evaluation.benchmarks.benchmark import BenchmarkFileError, BenchmarkItem
from toolformer.evaluation.benchmarks.lama import (
    Facts,
    LamaGoogleRe,
    LamaSquad,
    LamaTrex,
    LmlmTrex,
    TempLama,
    text_before_gap,
)
from toolformer.evaluation.benchmarks.rows import LeftOutRowError
from toolformer.settings.corpus_sections import STARTER_PEOPLE
from toolformer.sources.files import built_in_path

PROMPT = "Please complete the following text so that it is factually correct: "


def trex_row(*sentences):
    evidences = [{"sub_surface": "Quispe", "masked_sentence": sentence} for sentence in sentences]
    return {"uuid": "u-1", "obj_label": "Peru", "predicate_id": "P27", "evidences": evidences}


@pytest.mark.parametrize(
    ("statement", "before"),
    [
        ("The mill stands in [MASK]", "The mill stands in"),
        ("The mill stands in [MASK].", "The mill stands in"),
        ("The mill stands in [MASK] .  ", "The mill stands in"),
        ("A mill (now in [MASK]).", "A mill (now in"),
        ("He called it “[MASK]”.", "He called it “"),
        ("The U.S. is in [MASK].", "The U.S. is in"),
    ],
)
def test_a_full_stop_or_another_sign_behind_the_gap_does_not_count(statement, before):
    assert text_before_gap(statement, "[MASK]") == before


def test_the_sentences_of_lmlm_are_begun_and_their_own_word_is_the_answer(tmp_path):
    row = {"uuid": "u-1", "predicate_id": "P19", "sub_surface": "Quispe", "obj_surface": "Lima"}
    rows = [
        {**row, "masked_sentence": "Quispe was born in [MASK] and died in Cusco ."},
        {**row, "masked_sentence": "Quispe , of [MASK] , left [MASK] ."},
        {**row, "masked_sentence": "[MASK] is a town ."},
        {**row, "masked_sentence": "It has no gap ."},
    ]
    benchmark = LmlmTrex(write_json(tmp_path / "trex11k.json", rows))
    items = [entry for entry in benchmark.items() if isinstance(entry, BenchmarkItem)]
    assert [(item.item_id, item.prompt, item.gold, item.group) for item in items] == [
        ("u-1", "Quispe was born in", ("Lima",), "P19"),
        ("u-1#2", "Quispe , of", ("Lima",), "P19"),
    ]
    # Among the first five words, as there.
    assert benchmark.score(items[0], " the city of lima, where")
    assert not benchmark.score(items[0], " a town not far from Lima")
    assert [*left_out_of(benchmark)] == ["trex11k.json, row 3", "trex11k.json, row 4"]


@pytest.mark.parametrize(
    "statement",
    ["The [MASK] mill.", "[MASK] stands in Turin.", "In [MASK], or in [MASK].", "Its [MASK] 2."],
)
def test_a_statement_with_a_word_behind_the_gap_or_two_gaps_is_left_out(statement):
    with pytest.raises(LeftOutRowError, match="mask_not_last"):
        text_before_gap(statement, "[MASK]")


def test_google_re_of_lama_is_read_from_its_folder(tmp_path):
    for relation in ("place_of_death", "date_of_birth"):
        row = {
            "pred": f"/people/person/{relation}",
            "uuid": f"u-{relation}",
            "obj_label": "Oslo",
            "obj_aliases": ["be"],
            "masked_sentences": ["Kari Lie was a singer .", "She died in [MASK] ."],
        }
        write_lines(tmp_path / f"{relation}_test.jsonl", row)
    (tmp_path / ".hidden.jsonl").write_text("not read")
    benchmark, relations = LamaGoogleRe(tmp_path), ["date_of_birth", "place_of_death"]
    assert [file.name for file in benchmark.files()] == [f"{r}_test.jsonl" for r in relations]
    items = items_of(benchmark)
    assert [item.group for item in items] == relations
    assert items[0].prompt == f"{PROMPT}Kari Lie was a singer . She died in"
    assert items[0].gold == ("Oslo",)


def test_squad_of_lama_and_lines_with_one_sentence_are_read(tmp_path):
    row = {"masked_sentences": ["To [MASK]."], "obj_label": "Peru", "id": "a", "sub_label": "Squad"}
    expected = BenchmarkItem("a", f"{PROMPT}To", ("Peru",))
    assert items_of(LamaSquad(write_lines(tmp_path / "test.jsonl", row))) == [expected]
    row = {"id": "a", "relation": "P27", "masked_sentence": "To [MASK].", "answer": "Peru"}
    file = write_lines(tmp_path / "trex.jsonl", row)
    for benchmark in (LamaTrex(file), LamaGoogleRe(file), LamaSquad(file)):
        assert items_of(benchmark) == [replace(expected, group="P27")]


def test_a_fact_of_trex_is_one_item_with_its_first_fitting_evidence(tmp_path):
    row = trex_row("[MASK] is her home.", "Quispe lives in [MASK].", "She left [MASK].")
    write_lines(tmp_path / "P27.jsonl", row)
    assert items_of(LamaTrex(tmp_path)) == [
        BenchmarkItem("u-1", f"{PROMPT}Quispe lives in", ("Peru",), group="P27")
    ]


@pytest.mark.parametrize("evidences", ["x", [1], None])
def test_bad_evidences_are_rejected(tmp_path, evidences):
    file = write_lines(tmp_path / "P27.jsonl", trex_row("In [MASK]."), {"evidences": evidences})
    assert list(left_out_of(LamaTrex(file))) == ["P27.jsonl, row 2"]


def test_a_folder_without_its_files_is_named(tmp_path):
    (tmp_path / "readme.txt").write_text("{}")
    with pytest.raises(BenchmarkFileError, match=r"no file of 'lama-trex'; expected '\*\.jsonl'"):
        list(LamaTrex(tmp_path).items())


def test_the_lines_of_templama_are_read(tmp_path):
    row = {
        "query": "Ada Lund plays for _X_.",
        "answer": [{"wikidata_id": "Q1", "name": "Turin"}, {"wikidata_id": "Q2", "name": "Rome"}],
        "date": "2012",
        "id": "Q9_P54_2012",
        "relation": "P54",
    }
    expected = BenchmarkItem(
        "Q9_P54_2012",
        f"{PROMPT}Ada Lund plays for",
        ("Turin", "Rome"),
        current_date=datetime.date(2012, 7, 1),
        group="P54",
    )
    assert items_of(TempLama(write_lines(tmp_path / "test.json", row))) == [expected]
    del row["answer"]
    row["answers"] = ["Turin", "Rome"]
    assert items_of(TempLama(write_lines(tmp_path / "test.json", row))) == [expected]


def test_the_facts_that_are_asked_are_of_the_table_and_of_people_that_no_text_names():
    folder = built_in_path(STARTER_PEOPLE)
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
    items = items_of(Facts())
    assert len(items) == len({item.prompt for item in items}) == 40
    for item in items:
        (subject,) = (subject for subject in table if subject in item.prompt)
        assert [subject] not in named
        assert item.gold == (table[subject][str(item.group)],)
        others = {value for value in table[subject].values() if value not in item.gold}
        assert Facts().score(item, f" {item.gold[0]}, as all know.")
        assert not any(Facts().score(item, f" {other}, as all know.") for other in others)
