import re

import pytest

from tests.toolformer.evaluation.benchmarks.question_files import (
    items_of,
    left_out_of,
    write_json,
    write_lines,
)
from toolformer.evaluation.benchmarks.benchmark import BenchmarkFileError, BenchmarkItem
from toolformer.evaluation.benchmarks.mathematics import Asdiv, Mawps, Sums, Svamp
from tools.calculator import Calculator
from tools.protocol import Document

PROBLEM = """<Problem ID="p1" Grade="1"><Body>Three geese &amp; four hens live here.</Body>
<Question>How many birds are there?</Question><Solution-Type>Addition</Solution-Type>
<Answer>{answer}</Answer><Formula>3+4=7</Formula></Problem>"""


def asdiv(folder, *answers):
    file = folder / "ASDiv.xml"
    problems = "\n".join(PROBLEM.format(answer=answer) for answer in answers)
    head = '<?xml version="1.0" encoding="UTF-8" ?>\n<Corpus>\n  <ProblemSet>'
    file.write_text(f"{head}{problems}</ProblemSet></Corpus>", encoding="utf-8")
    return Asdiv(file)


def svamp_row(answer, number=1):
    row = {"ID": f"chal-{number}", "Body": "Lea has 9 pens .", "Question": "How many pens has she?"}
    return row | {"Equation": "9", "Answer": answer, "Type": "Subtraction"}


def test_the_xml_of_asdiv_is_read(tmp_path):
    prompt = "Three geese & four hens live here. How many birds are there? The answer is"
    expected = BenchmarkItem("p1", prompt, ("7",), group="Addition")
    assert items_of(asdiv(tmp_path, "7 (birds)")) == [expected]


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        *(("1,250", "1250"), ("-4 (degrees)", "-4"), ("0.5 (km)", "0.5"), (".5", ".5")),
        *(("1 250 (m)", "1250"), ("−4", "-4"), ("1'250", "1250"), ("2½ (cups)", "2.5")),
        *((each, None) for each in ("12 (kg)(m)", "5 (a); 3 (b)", "yes", "1:30", "1/2", "3 4")),
        *((each, None) for each in ("3,5", "1.250,50", "1,25,000", "10^6", "5²")),
    ],
)
def test_an_answer_of_asdiv_is_one_number_with_or_without_a_unit(tmp_path, answer, number):
    benchmark = asdiv(tmp_path, "7", answer)
    items = [entry for entry in benchmark.items() if isinstance(entry, BenchmarkItem)]
    assert [item.gold for item in items[1:]] == ([(number,)] if number else [])
    if number is None:
        assert left_out_of(benchmark) == {"ASDiv.xml, row 2": "answer_not_one_number"}


def test_the_array_of_svamp_is_read(tmp_path):
    benchmark = Svamp(write_json(tmp_path / "SVAMP.json", [svamp_row(9.0)], indent=2))
    prompt = "Lea has 9 pens . How many pens has she? The answer is"
    assert items_of(benchmark) == [BenchmarkItem("chal-1", prompt, ("9",), group="Subtraction")]


@pytest.mark.parametrize("answer", ["nine", None, True, [], "NaN", {"a": 1}, float("inf"), 10**400])
def test_an_answer_of_svamp_that_is_no_number_is_rejected(tmp_path, answer):
    rows = [svamp_row(9.0), svamp_row(answer, 2), svamp_row(8, 3)]
    benchmark = Svamp(write_json(tmp_path / "svamp.json", rows))
    (place, reason), *others = left_out_of(benchmark).items()
    assert (place, others) == ("svamp.json, row 2", [])
    assert reason.startswith("column 'Answer' is ")


def test_the_array_of_mawps_is_read(tmp_path):
    rows = [
        {"iIndex": 31, "sQuestion": " A pen costs 2 . How much are 3 ? ", "lSolutions": ["6.0"]},
        {"iIndex": 32, "sQuestion": "How much is a third?", "lSolutions": [0.3333333333333333]},
        {"iIndex": 33, "sQuestion": "Which two?", "lSolutions": [1, 2]},
    ]
    benchmark = Mawps(write_json(tmp_path / "mawps.json", rows))
    first, second, _ = benchmark.items()
    assert first == BenchmarkItem("31", "A pen costs 2 . How much are 3 ? The answer is", ("6.0",))
    assert second.gold == ("0.3333333333333333",)
    assert left_out_of(benchmark) == {"mawps.json, row 3": "answer_not_one_number"}


@pytest.mark.parametrize("benchmark_class", [Asdiv, Svamp, Mawps])
def test_lines_with_question_and_answer_are_read(tmp_path, benchmark_class):
    row = {"id": "a", "question": "How many?", "answer": 1e-7, "type": "Addition"}
    benchmark = benchmark_class(write_lines(tmp_path / "maths.jsonl", row))
    assert items_of(benchmark) == [
        BenchmarkItem("a", "How many? The answer is", ("0.0000001",), group="Addition")
    ]


HUB_ROWS = {
    Asdiv: {"body": "Six boats.", "question": "How many?", "solution_type": "A", "answer": "6 (b)"},
    Svamp: {"ID": "a", "Body": "Six boats.", "Question": "How many?", "Answer": "6", "Type": "A"}
    | {"question_concat": "Six boats. How many?", "Equation": "( 6 )"},
    Mawps: {"Body": "Six boats.", "Question": "How many?", "Answer": 6.0, "type": "A"},
}


@pytest.mark.parametrize("benchmark_class", HUB_ROWS)
def test_copies_with_other_names_of_columns_are_asked_with_their_story(tmp_path, benchmark_class):
    row = HUB_ROWS[benchmark_class]
    upper = {name.upper().replace("_", "-"): value for name, value in row.items()}
    for each in (row, upper, {f"@{name}": value for name, value in upper.items()}):
        (item,) = items_of(benchmark_class(write_lines(tmp_path / "copy.jsonl", each)))
        expected = ("Six boats. How many? The answer is", ("6",), "A")
        assert (item.prompt, item.gold, item.group) == expected
        assert item.bare_texts == ("Six boats. How many?",)


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ({"body": "Six boats."}, "'body'"),
        ({"Numbers": "5 7"}, "'Numbers'"),
        ({"Context": "Six boats.", "options": ["5", "6"]}, "'Context' and 'options'"),
        *(({name: "Six boats."}, repr(name)) for name in ("Premise", "Problem", "Text", "table")),
        *(
            ({name: ["Six."]}, repr(name))
            for name in ("Passages", "article", "document", "support")
        ),
        *(({name: "Six boats."}, repr(name)) for name in ("Question_Body", "scenario", "premises")),
        ({"choices": {"text": ["5", "6"]}}, "'choices'"),
    ],
)
def test_a_file_with_a_part_of_the_question_that_is_not_asked_is_refused(tmp_path, extra, named):
    row = {"sQuestion": "How many?", "lSolutions": [6], **extra}
    with pytest.raises(BenchmarkFileError, match=f"row 2 of .* has {named}, which this form"):
        items_of(Mawps(write_lines(tmp_path / "mawps.jsonl", {**row, **dict.fromkeys(extra)}, row)))


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ("Mary has N_00 dogs and N_01.", "N_00"),
        ("A pen costs number0 . How much are number1 ?", "number0"),
        ("How much is $N_1?", "N_1"),
    ],
)
@pytest.mark.parametrize("benchmark_class", [Asdiv, Svamp, Mawps])
def test_questions_with_placeholders_are_refused(tmp_path, benchmark_class, question, named):
    sound = {"question": "Which number is 2 more than the number 7?", "answer": 9}
    assert items_of(benchmark_class(write_lines(tmp_path / "sound.jsonl", sound)))
    file = write_lines(tmp_path / "a.jsonl", sound, {"question": question, "answer": 12.0})
    with pytest.raises(BenchmarkFileError, match=f"row 2 of .* has '{named}' where a number"):
        items_of(benchmark_class(file))


def test_two_columns_of_one_name_are_named(tmp_path):
    row = {"question": "How many?", "Question": "How few?", "answer": 6}
    (reason,) = left_out_of(Asdiv(write_lines(tmp_path / "a.jsonl", row))).values()
    assert reason.startswith("two columns of 'question, Question, answer'")


def test_the_form_of_the_hub_has_its_story(test_data):
    case = test_data / "cases" / "09-asdiv-hub-form"
    items = items_of(Asdiv(case / "asdiv.jsonl"))
    assert items[0].prompt == (
        "A shelf holds seven jars and two more are put on it. How many jars are on the shelf? "
        "The answer is"
    )
    assert [item.gold for item in items] == [("9",), ("27",), ("24",)]
    with pytest.raises(BenchmarkFileError, match="'Numbers'"):
        items_of(Mawps(case / "mawps-hub.jsonl"))
    (reason,) = left_out_of(Mawps(case / "calc-mawps.jsonl")).values()
    assert reason.startswith("column 'answer' is missing")


def test_each_sum_ends_where_its_result_belongs():
    items = items_of(Sums())
    assert len(items) == len({item.prompt for item in items}) == 40
    for item in items:
        expression = re.search(r"(\d+ [-+*/] \d+) =$", item.prompt)
        assert expression, item.prompt
        result = Calculator().call(expression[1], Document("sums", ""))
        assert item.gold == (result,)
        assert Sums().score(item, f" {result} crowns")
        assert not Sums().score(item, f" {int(result) + 1} crowns")
