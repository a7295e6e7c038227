import datetime

import pytest

from tests.toolformer.evaluation.benchmarks.question_files import items_of, left_out_of, write_lines
from toolformer.evaluation.benchmarks.benchmark import BenchmarkFileError, BenchmarkItem, StopRule
from toolformer.evaluation.benchmarks.question_file import QuestionFile
from tools.calculator import Calculator
from tools.protocol import Document

ROW = {
    "asked": "How wide is it {really}?",
    "known": [12, "twelve"],
    "text": "A door of {question}.",
    "day": "2014-03-30",
}


def doors(folder, *rows, **changes):
    file = write_lines(folder / "doors.jsonl", *(rows or (ROW,)))
    columns = {"question": "asked", "answers": "known", **changes}
    return QuestionFile("doors", file, **columns)


def test_columns_prompt_date_tools_and_stop_rule_are_the_users(tmp_path):
    benchmark = doors(
        tmp_path,
        context="text",
        date="day",
        prompt="{context}\nQ: {question} {{x}}\nA:",
        blocked_tools=("QA",),
        max_new_tokens=5,
        stop_texts=("\n\n",),
    )
    prompt = "A door of {question}.\nQ: How wide is it {really}? {x}\nA:"
    day = datetime.date(2014, 3, 30)
    expected = BenchmarkItem("doors-1", prompt, ("12", "twelve"), current_date=day)
    assert items_of(benchmark) == [expected]
    assert (benchmark.blocked_tools, benchmark.stop_rule) == (("QA",), StopRule(5, ("\n\n",)))


def test_answers_of_a_table_are_a_list_as_json(tmp_path):
    file = tmp_path / "doors.tsv"
    file.write_text('asked\tknown\nHow wide?\t"[""12"", ""twelve""]"\nHow?\twide\n')
    items = items_of(QuestionFile("doors", file, question="asked", answers="known"))
    assert [item.gold for item in items] == [("12", "twelve"), ("wide",)]


def test_answers_are_scored_as_wanted(tmp_path):
    benchmark = doors(tmp_path, first_words=2)
    (item,) = items_of(benchmark)
    assert benchmark.score(item, "about twelve feet")
    assert not benchmark.score(item, "it is twelve feet")
    row = {"asked": "How wide?", "known": ["12.0 (feet)", 144]}
    benchmark = doors(tmp_path, row, scoring="number")
    (item,) = items_of(benchmark)
    assert item.gold == ("12.0", "144")
    assert benchmark.score(item, "24 / 2 = 12")
    assert benchmark.score(item, "144 inches")
    assert not benchmark.score(item, "13")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"Asked": "How wide?", "known": 12}', "have the columns Asked, known; expected a"),
        ('{"asked": "Wie groß?"}'.encode("latin-1"), "have none: it is not JSON ('utf-8' codec"),
        (b"asked\tknown\nHow wide?\t12\t13", "have none: it has not 2 columns as the first"),
        (b"[]", "0 rows have none; expected a column 'asked'"),
    ],
)
def test_a_file_of_other_columns_says_why_and_where_they_are_named(tmp_path, content, told):
    benchmark = doors(tmp_path)
    (tmp_path / "doors.jsonl").write_bytes(content)
    with pytest.raises(BenchmarkFileError) as raised:
        items_of(benchmark)
    assert told in str(raised.value)
    assert "evaluation.questions says how to read a file of your own" in str(raised.value)


@pytest.mark.parametrize(
    ("decimals", "rules"), [(2, ["rounded_number"] * 4 + ["number"]), (6, ["number"] * 5)]
)
def test_what_the_calculator_gives_is_right_by_a_rule_that_is_named(test_data, decimals, rules):
    file = test_data / "cases/10-two-decimals/questions.jsonl"
    benchmark = QuestionFile("shares", file, prompt="{question}", scoring="number")
    counted = []
    for item in items_of(benchmark):
        expression = item.prompt.rpartition(",")[2].rpartition("is")[2].strip(" =")
        result = Calculator(decimals=decimals).call(expression, Document("d", ""))
        assert benchmark.score(item, result)
        counted.append(benchmark.counted_by(item, result))
        assert not benchmark.score(item, "0.99")
    assert counted == rules


def test_a_row_without_a_date_has_none_and_a_bad_one_is_rejected(tmp_path):
    rows = [{**ROW, "day": day} for day in (None, "", "2014", "soon")]
    benchmark = doors(tmp_path, *rows, date="day")
    first, empty, second, _ = benchmark.items()
    assert (first.current_date, empty.current_date) == (None, None)
    assert second.current_date == datetime.date(2014, 7, 1)
    assert left_out_of(benchmark) == {
        "doors.jsonl, row 4": "column 'day' is 'soon'; expected a date as YYYY-MM-DD, or a year"
    }


@pytest.mark.parametrize(
    "prompt",
    ["Answer.", "{question} {context}", "{q}", "{}", "{question!r}", "{question.x}", "{question"],
)
def test_a_prompt_that_does_not_fit_is_refused(tmp_path, prompt):
    with pytest.raises(ValueError, match="rite other braces twice"):
        doors(tmp_path, prompt=prompt)


def test_the_version_changes_with_whatever_changes_prompts_or_scores(tmp_path):
    versions = [
        doors(tmp_path, **changes).version
        for changes in (
            {},
            {"prompt": "Q: {question}"},
            {"first_words": 5},
            {"scoring": "number"},
            {"answers": "other"},
            {"date": "day"},
        )
    ]
    assert len(set(versions)) == len(versions)
    assert doors(tmp_path).version == versions[0]
