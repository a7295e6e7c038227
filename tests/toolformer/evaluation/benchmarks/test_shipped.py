"""Every published form of the benchmarks that ship: rows, and the items that they become."""

import datetime

import pytest

from tests.toolformer.evaluation.benchmarks.question_files import (
    ASKED,
    CLOZE,
    PARAGRAPH,
    QUESTIONS,
    item,
    items_of,
    left_out_of,
    shipped,
    write_json,
    write_lines,
)
from toolformer.evaluation.benchmarks.benchmark import BenchmarkFileError, BenchmarkItem

MATHEMATICS = ("asdiv", "svamp", "mawps")

SENTENCE = {"id": "a", "relation": "P27", "masked_sentence": "To [MASK].", "answer": "Peru"}
SQUAD = {"masked_sentences": ["To [MASK]."], "obj_label": "Peru", "id": "a", "sub_label": "Squad"}
TREX = {"uuid": "u-1", "obj_label": "Peru", "predicate_id": "P27"}
TEMPORAL = {"query": "Ada Lund plays for _X_.", "date": "2012", "id": "Q9_2012", "relation": "P54"}
NAMED = [{"wikidata_id": "Q1", "name": "Turin"}, {"wikidata_id": "Q2", "name": "Rome"}]
PLAYS = BenchmarkItem(
    *("Q9_2012", f"{CLOZE}Ada Lund plays for", ("Turin", "Rome")),
    current_date=datetime.date(2012, 7, 1),
    group="P54",
)
NUMBERED = {"id": "a", "question": "How many?", "answer": 1e-7, "type": "Addition"}
SOLVED = BenchmarkItem("a", "How many? The answer is", ("0.0000001",), group="Addition")
PENS = {"ID": "chal-1", "Body": "Lea has 9 pens .", "Question": "How many pens has she?"}
STAR = {"question": "Which star is near?", "question_id": "tc_3", "entity_pages": {"title": []}}
SUN = {"aliases": ["Sunlight"], "value": "Sun", "normalized_value": "sun"}
VIEWED = {"id": 1, "question": "Who is it?", "s_pop": 1234}
LIVES = {"id": "q1", "context": "Ada lives in Turin.", "question": "¿Dónde vive Ada?"}
IN_COLUMNS = {"answers": {"text": ["Turin", "in Turin"], "answer_start": [13, 10]}}


def trex_row(*sentences: str) -> dict[str, object]:
    return {**TREX, "evidences": [{"sub_surface": "Q", "masked_sentence": s} for s in sentences]}


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        *(
            (name, SENTENCE, item("a", f"{CLOZE}To", "Peru", group="P27"))
            for name in ("lama-squad", "lama-google-re", "lama-trex")
        ),
        ("lama-squad", SQUAD, item("a", f"{CLOZE}To", "Peru")),
        (
            "lama-trex",
            trex_row("[MASK] is her home.", "Quispe lives in [MASK].", "She left [MASK]."),
            item("u-1", f"{CLOZE}Quispe lives in", "Peru", group="P27"),
        ),
        ("templama", {**TEMPORAL, "answer": NAMED}, PLAYS),
        ("templama", {**TEMPORAL, "answers": ["Turin", "Rome"]}, PLAYS),
        *((name, NUMBERED, SOLVED) for name in MATHEMATICS),
        (
            "triviaqa",
            {**STAR, "answer": SUN},
            item("tc_3", f"{ASKED}{STAR['question']}", "Sun", "Sunlight"),
        ),
        *(
            (
                "popqa",
                {**VIEWED, "possible_answers": answers},
                item("1", f"{ASKED}Who is it?", *gold, group="s_pop 1000-9999"),
            )
            for answers, gold in (('["Ada"]', ("Ada",)), (["Ada", "Lund"], ("Ada", "Lund")))
        ),
        (
            "mlqa-es",
            {**LIVES, **IN_COLUMNS, "title": "Ada"},
            item("q1", PARAGRAPH, "Turin", "in Turin", group="es"),
        ),
        ("mlqa-es", {**LIVES, "answers": ["Turin"]}, item("q1", PARAGRAPH, "Turin", group="es")),
    ],
)
def test_a_row_of_json_lines_is_an_item(tmp_path, name, row, expected):
    assert items_of(shipped(name, write_lines(tmp_path / "copy.jsonl", row))) == [expected]


TRIVIA = {
    "Answer": {"Aliases": ["Sunlight", "The Sun"], "Value": "Sun", "Type": "WikipediaEntity"},
    "Question": "Which star is near?",
    "QuestionId": "tc_3",
}


@pytest.mark.parametrize(
    ("name", "document", "expected"),
    [
        (
            "svamp",
            [{**PENS, "Answer": 9.0, "Type": "Subtraction"}],
            item(
                "chal-1",
                "Lea has 9 pens . How many pens has she? The answer is",
                "9",
                group="Subtraction",
            ),
        ),
        (
            "webquestions",
            [{"qId": "wqs000001", "qText": "where is it?", "answers": ["Rome"]}],
            item("wqs000001", f"{ASKED}where is it?", "Rome"),
        ),
        (
            "triviaqa",
            {"Data": [TRIVIA], "Domain": "Web", "Version": 1.0},
            item("tc_3", f"{ASKED}Which star is near?", "Sun", "Sunlight", "The Sun"),
        ),
    ],
)
@pytest.mark.parametrize("indent", [None, 4])
def test_a_row_of_a_document_is_an_item(tmp_path, name, document, expected, indent):
    file = write_json(tmp_path / "published.json", document, indent=indent)
    assert items_of(shipped(name, file)) == [expected]


@pytest.mark.parametrize(
    ("statement", "before"),
    [
        ("The mill stands in [MASK]", "The mill stands in"),
        ("The mill stands in [MASK].", "The mill stands in"),
        ("The mill stands in [MASK] .  ", "The mill stands in"),
        ("A mill (now in [MASK]).", "A mill (now in"),
        ("He called it “[MASK]”.", "He called it “"),
        ("The U.S. is in [MASK].", "The U.S. is in"),
        *(
            (each, None)
            for each in ("The [MASK] mill.", "[MASK] stands in Turin.", "Its [MASK] 2.")
        ),
        ("In [MASK], or in [MASK].", None),
    ],
)
def test_a_statement_is_asked_unless_a_word_or_a_gap_follows_its_gap(tmp_path, statement, before):
    row = {**SENTENCE, "masked_sentence": statement}
    sound = write_lines(tmp_path / "squad.jsonl", SENTENCE, row)
    (_, *rest) = shipped("lama-squad", sound).items()
    if before is None:
        assert left_out_of(shipped("lama-squad", sound)) == {"squad.jsonl, row 2": "mask_not_last"}
    else:
        assert [entry.prompt for entry in rest] == [f"{CLOZE}{before}"]


def test_the_sentences_of_lmlm_are_begun_and_their_own_word_is_the_answer(tmp_path):
    row = {"uuid": "u-1", "predicate_id": "P19", "sub_surface": "Quispe", "obj_surface": "Lima"}
    rows = [
        {**row, "masked_sentence": "Quispe was born in [MASK] and died in Cusco ."},
        {**row, "masked_sentence": "Quispe , of [MASK] , left [MASK] ."},
        {**row, "masked_sentence": "[MASK] is a town ."},
        {**row, "masked_sentence": "It has no gap ."},
    ]
    benchmark = shipped("trex11k", write_json(tmp_path / "trex11k.json", rows))
    items = [entry for entry in benchmark.items() if isinstance(entry, BenchmarkItem)]
    assert items == [
        item("u-1", "Quispe was born in", "Lima", group="P19"),
        item("u-1#2", "Quispe , of", "Lima", group="P19"),
    ]
    # Among the first five words, as there.
    assert benchmark.score(items[0], " the city of lima, where")
    assert not benchmark.score(items[0], " a town not far from Lima")
    assert [*left_out_of(benchmark)] == ["trex11k.json, row 3", "trex11k.json, row 4"]


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
    benchmark, relations = shipped("lama-google-re", tmp_path), ["date_of_birth", "place_of_death"]
    assert [file.name for file in benchmark.files()] == [f"{r}_test.jsonl" for r in relations]
    items = items_of(benchmark)
    assert [item.group for item in items] == relations
    assert items[0].prompt == f"{CLOZE}Kari Lie was a singer . She died in"
    assert items[0].gold == ("Oslo",)


@pytest.mark.parametrize("evidences", ["x", [1], None])
def test_bad_evidences_are_rejected(tmp_path, evidences):
    file = write_lines(tmp_path / "P27.jsonl", trex_row("In [MASK]."), {"evidences": evidences})
    assert list(left_out_of(shipped("lama-trex", file))) == ["P27.jsonl, row 2"]


def test_a_folder_without_its_files_is_named(tmp_path):
    (tmp_path / "readme.txt").write_text("{}")
    with pytest.raises(BenchmarkFileError, match=r"no file of 'lama-trex'. Expected '\*\.jsonl'"):
        list(shipped("lama-trex", tmp_path).items())


PROBLEM = """<Problem ID="p1" Grade="1"><Body>Three geese &amp; four hens live here.</Body>
<Question>How many birds are there?</Question><Solution-Type>Addition</Solution-Type>
<Answer>{answer}</Answer><Formula>3+4=7</Formula></Problem>"""


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        *(("1,250", "1250"), ("-4 (degrees)", "-4"), ("0.5 (km)", "0.5"), (".5", ".5")),
        *(("1 250 (m)", "1250"), ("−4", "-4"), ("1'250", "1250"), ("2½ (cups)", "2.5")),
        *((each, None) for each in ("12 (kg)(m)", "5 (a); 3 (b)", "yes", "1:30", "1/2", "3 4")),
        *((each, None) for each in ("3,5", "1.250,50", "1,25,000", "10^6", "5²")),
    ],
)
def test_an_answer_of_asdivs_xml_is_one_number_with_or_without_a_unit(tmp_path, answer, number):
    problems = "\n".join(PROBLEM.format(answer=each) for each in ("7 (birds)", answer))
    head = '<?xml version="1.0" encoding="UTF-8" ?>\n<Corpus>\n  <ProblemSet>'
    file = tmp_path / "ASDiv.xml"
    file.write_text(f"{head}{problems}</ProblemSet></Corpus>", encoding="utf-8")
    benchmark = shipped("asdiv", file)
    first, *items = [entry for entry in benchmark.items() if isinstance(entry, BenchmarkItem)]
    prompt = "Three geese & four hens live here. How many birds are there? The answer is"
    assert first == item("p1", prompt, "7", group="Addition")
    assert [item.gold for item in items] == ([(number,)] if number else [])
    if number is None:
        (reason,) = left_out_of(benchmark).items()
        assert reason[0] == "ASDiv.xml, row 2"
        assert reason[1].endswith("expected a number, such as 1,234.5")


@pytest.mark.parametrize("answer", ["nine", None, True, [], "NaN", {"a": 1}, float("inf"), 10**400])
def test_an_answer_of_svamp_that_is_no_number_is_rejected(tmp_path, answer):
    rows = [{**PENS, "Answer": each} for each in (9.0, answer, 8)]
    benchmark = shipped("svamp", write_json(tmp_path / "svamp.json", rows))
    (place, reason), *others = left_out_of(benchmark).items()
    assert (place, others) == ("svamp.json, row 2", [])
    assert reason.startswith("column 'Answer' is ")


def test_the_array_of_mawps_is_read(tmp_path):
    rows = [
        {"iIndex": 31, "sQuestion": " A pen costs 2 . How much are 3 ? ", "lSolutions": ["6.0"]},
        {"iIndex": 32, "sQuestion": "How much is a third?", "lSolutions": [0.3333333333333333]},
        {"iIndex": 33, "sQuestion": "Which two?", "lSolutions": [1, 2]},
    ]
    benchmark = shipped("mawps", write_json(tmp_path / "mawps.json", rows))
    first, second, _ = benchmark.items()
    assert first == item("31", "A pen costs 2 . How much are 3 ? The answer is", "6.0")
    assert second.gold == ("0.3333333333333333",)
    assert left_out_of(benchmark) == {"mawps.json, row 3": "it has 2 answers; expected one"}


HUB_ROWS = {
    "asdiv": {
        "body": "Six boats.",
        "question": "How many?",
        "solution_type": "A",
        "answer": "6 (b)",
    },
    "svamp": {"ID": "a", "Body": "Six boats.", "Question": "How many?", "Answer": "6", "Type": "A"}
    | {"question_concat": "Six boats. How many?", "Equation": "( 6 )"},
    "mawps": {"Body": "Six boats.", "Question": "How many?", "Answer": 6.0, "type": "A"},
}


@pytest.mark.parametrize("name", HUB_ROWS)
def test_copies_with_other_names_of_columns_are_asked_with_their_story(tmp_path, name):
    row = HUB_ROWS[name]
    upper = {name.upper().replace("_", "-"): value for name, value in row.items()}
    for each in (row, upper, {f"@{name}": value for name, value in upper.items()}):
        (item,) = items_of(shipped(name, write_lines(tmp_path / "copy.jsonl", each)))
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
    file = write_lines(tmp_path / "mawps.jsonl", {**row, **dict.fromkeys(extra)}, row)
    with pytest.raises(BenchmarkFileError, match=f"row 2 of .* has {named}, which prompts of"):
        items_of(shipped("mawps", file))


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_is_not_asked_without_its_context(tmp_path, name):
    row = {"question": "who rang it", "answer": ["Ada"], "context": "Ada rang the bell."}
    with pytest.raises(BenchmarkFileError, match="'context'"):
        items_of(shipped(name, write_lines(tmp_path / "copy.jsonl", row)))


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ("Mary has N_00 dogs and N_01.", "N_00"),
        ("A pen costs number0 . How much are number1 ?", "number0"),
        ("How much is $N_1?", "N_1"),
    ],
)
@pytest.mark.parametrize("name", MATHEMATICS)
def test_questions_with_placeholders_are_refused(tmp_path, name, question, named):
    sound = {"question": "Which number is 2 more than the number 7?", "answer": 9}
    assert items_of(shipped(name, write_lines(tmp_path / "sound.jsonl", sound)))
    file = write_lines(tmp_path / "a.jsonl", sound, {"question": question, "answer": 12.0})
    with pytest.raises(BenchmarkFileError, match=f"row 2 of .* has '{named}' where a number"):
        items_of(shipped(name, file))


def test_two_columns_of_one_name_are_named(tmp_path):
    row = {"question": "How many?", "Question": "How few?", "answer": 6}
    (reason,) = left_out_of(shipped("asdiv", write_lines(tmp_path / "a.jsonl", row))).values()
    assert reason.startswith("two of the columns 'question, Question, answer'")


def test_the_form_of_the_hub_has_its_story(test_data):
    case = test_data / "cases" / "09-asdiv-hub-form"
    items = items_of(shipped("asdiv", case / "asdiv.jsonl"))
    assert items[0].prompt == (
        "A shelf holds seven jars and two more are put on it. How many jars are on the shelf? "
        "The answer is"
    )
    assert [item.gold for item in items] == [("9",), ("27",), ("24",)]
    with pytest.raises(BenchmarkFileError, match="'Numbers'"):
        items_of(shipped("mawps", case / "mawps-hub.jsonl"))
    (reason,) = left_out_of(shipped("mawps", case / "calc-mawps.jsonl")).values()
    assert reason.startswith("column 'lsolutions' or 'answer' is missing")
