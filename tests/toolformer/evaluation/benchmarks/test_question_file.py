import datetime

import pytest

from tests.toolformer.evaluation.benchmarks.question_files import (
    items_of,
    left_out_of,
    own,
    write_lines,
)
from toolformer.evaluation.benchmarks.benchmark import BenchmarkFileError, BenchmarkItem, StopRule
from toolformer.evaluation.benchmarks.question_file import QuestionFile
from toolformer.home.wiring import benchmarks as wiring
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
    return own("doors", file, **columns)


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
    items = items_of(own("doors", file, question="asked", answers="known"))
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
        (b'{"Asked": "How wide?", "known": 12}', "have the columns Asked, known. Expected a"),
        (
            '{"asked": "Wie groß?"}'.encode("latin-1"),
            "have no columns (row 1: it is 'invalid_utf8'; expected a JSON",
        ),
        (
            b"asked\tknown\nHow wide?\t12\t13",
            "have no columns (row 2: it has 3 columns; expected 2, as in the first line)",
        ),
        (b"[]", "0 rows have no columns. Expected a column 'asked'"),
    ],
)
def test_a_file_of_other_columns_says_why_and_where_they_are_named(tmp_path, content, told):
    benchmark = doors(tmp_path)
    (tmp_path / "doors.jsonl").write_bytes(content)
    with pytest.raises(BenchmarkFileError) as raised:
        items_of(benchmark)
    assert told in str(raised.value)
    assert "describe its columns in evaluation.questions" in str(raised.value)


@pytest.mark.parametrize(
    ("decimals", "rules"), [(2, ["rounded_number"] * 4 + ["number"]), (6, ["number"] * 5)]
)
def test_what_the_calculator_gives_is_right_by_a_rule_that_is_named(test_data, decimals, rules):
    file = test_data / "cases/10-two-decimals/questions.jsonl"
    benchmark = own("shares", file, prompt="{question}", scoring="number")
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
        "doors.jsonl, row 4": "column 'day' is 'soon'; expected a date YYYY-MM-DD or a year"
    }


def told_of(benchmark: QuestionFile) -> list[str]:
    return wiring.remarks_on(benchmark, wiring.items_of(benchmark)[0])


SOLUTION = {"asked": "How many?", "known": "6*4=<<6*4=24>>24 buns.\n24*3=72 #### no.\n#### 1,072"}


@pytest.mark.parametrize("scoring", ["words", "number", "last-number"])
def test_the_answer_of_a_solution_is_what_follows_its_last_marks(tmp_path, scoring):
    benchmark = doors(tmp_path, SOLUTION, ROW, scoring="words")
    told = ["doors: 1 of 2 answers are the text after the last #### of a solution."]
    # Reading twice counts once.
    assert told_of(benchmark) == told_of(benchmark) == told
    assert items_of(benchmark)[0].gold == ("1,072",)
    (number,) = items_of(doors(tmp_path, SOLUTION, scoring=scoring))
    assert number.gold == ("1,072",) if scoring == "words" else ("1072",)


@pytest.mark.parametrize(
    ("answers", "changes", "count"),
    [
        (["First add.\nThen divide.", "word " * 21, "– . –", "### 7\n#### Notes\nNone"], {}, 4),
        # One accepted answer that can be given is enough.
        ([["one\ntwo", "two"], "word " * 20, "#### 7", 0], {}, 0),
        (["word " * 6, "word " * 5], {"max_new_tokens": 5}, 1),
        (["word " * 3, "word " * 2], {"first_words": 2}, 1),
        (["St. Paul", "Rome."], {"stop_texts": (".",)}, 1),
        ([12, "1,234.5 (feet)"], {"scoring": "number", "max_new_tokens": 1}, 0),
    ],
)
def test_answers_that_can_never_be_given_are_counted(tmp_path, answers, changes, count):
    benchmark = doors(tmp_path, *({**ROW, "known": each} for each in answers), **changes)
    told = [remark for remark in told_of(benchmark) if "never" in remark]
    assert len(told) == bool(count)
    for remark in told:
        assert remark.startswith(f"doors: {count} of {len(answers)} answers can never be matched: ")
        assert "The first: doors-" in remark


@pytest.mark.parametrize(
    ("known", "columns", "named"),
    [
        ("B", {"choices": {"text": ["41", "42"], "label": ["A", "B"]}}, "choices"),
        (1, {"choices": ["41", "42"]}, "choices"),
        ("(b)", {"options": {"A": "41", "B": "42"}}, "options"),
        ("2", {"option1": "Ann", "option2": "Lea"}, "option1' and 'option2"),
        ("C", {"A": "41", "B": "42", "C": "43"}, "A' and 'B' and 'C"),
        ("1", {"answerA": "41", "answerB": "42"}, "answerA' and 'answerB"),
        ("B", {"Option A": "41", "Option B": "42"}, "Option A' and 'Option B"),
        ("A", {"body": {"choices": [{"text": "41", "label": "A"}]}}, "body.choices"),
    ],
)
def test_an_answer_that_names_a_choice_is_left_out_and_choices_are_told(
    tmp_path, known, columns, named
):
    row = {"asked": "What is 6 * 7?", "known": known, **columns}
    benchmark = doors(tmp_path, row, {**row, "known": "42"}, ROW)
    assert [item.gold for item in wiring.items_of(benchmark)[0]] == [("42",), ("12", "twelve")]
    assert left_out_of(benchmark) == {
        "doors.jsonl, row 1": f"column 'known' is '{known}', which names one of the choices in "
        f"'{named}'; expected the answer itself, since prompts have no choices"
    }
    assert told_of(benchmark) == [
        f"doors: 1 of 2 answers belong to choices in '{named}', which the prompts do not show."
    ]


def test_an_answer_beside_wrong_answers_alone_names_none_of_them(tmp_path):
    row = {**ROW, "known": "2", "distractor1": "3", "Incorrect Answer 2": "4"}
    benchmark = doors(tmp_path, row)
    assert told_of(benchmark) == [
        "doors: 1 of 1 answers belong to choices in 'distractor1' and 'Incorrect Answer 2', which "
        "the prompts do not show."
    ]
    assert items_of(benchmark)[0].gold == ("2",)


def test_dotted_names_reach_into_objects_as_in_ingest(tmp_path):
    row = {"asked": {"body": "How wide?"}, "known": {"aliases": ["12", "twelve"]}, "a.day": "2014"}
    columns = {"question": "asked.body", "answers": "known.aliases", "date": "a.day"}
    (item,) = items_of(doors(tmp_path, row, **columns))
    assert (item.gold, item.current_date) == (("12", "twelve"), datetime.date(2014, 7, 1))
    with pytest.raises(BenchmarkFileError, match=r"a\.day, asked\.body, known\.aliases\. Expected"):
        items_of(doors(tmp_path, row, question="asked.title"))
    benchmark = doors(tmp_path, row, question="asked.body", answers="known.value")
    (reason,) = left_out_of(benchmark).values()
    assert reason.startswith("column 'known.value' is missing; the row has 'asked.body, known.al")


def test_statements_ids_and_groups_of_a_file_of_ones_own_are_read_as_of_a_shipped_one(tmp_path):
    rows = [
        {"key": 7, "text": "It is ___ wide.", "wide": "12", "unit": 30},
        {"key": 8, "head": "A door.", "text": "Its width is ___.", "tall": ["9"], "unit": "feet"},
        {"key": 9, "text": "How wide", "wide": ["1", "2"], "unit": "feet"},
    ]
    described = {
        "question": ["head + text", "text"],
        "answers": ["wide", "tall"],
        "id": "key",
        "group": "unit",
        "prompt": "{question}",
    }
    benchmark = doors(tmp_path, *rows, **described, has_question_mark=True, has_one_answer=True)
    assert wiring.items_of(benchmark)[0] == [
        BenchmarkItem("7", "It is ___ wide.?", ("12",), group="unit 10-99"),
        BenchmarkItem("8", "A door. Its width is ___.?", ("9",), group="feet"),
    ]
    assert left_out_of(benchmark) == {"doors.jsonl, row 3": "it has 2 answers; expected one"}
    cut = doors(tmp_path, *rows[:2], **described, gap="___")
    assert [item.prompt for item in wiring.items_of(cut)[0]] == ["A door. Its width is"]
    begun = doors(tmp_path, *rows[:2], **described, gap="___", has_text_after_gap=True)
    assert [item.prompt for item in items_of(begun)] == ["It is", "A door. Its width is"]
    assert len({each.version for each in (benchmark, cut, begun)}) == 3


@pytest.mark.parametrize(
    "prompt",
    ["Answer.", "{question} {context}", "{q}", "{}", "{question!r}", "{question.x}", "{question"],
)
def test_a_prompt_that_does_not_fit_is_refused(tmp_path, prompt):
    with pytest.raises(ValueError, match="ouble the braces that are not part of a placeholder"):
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
