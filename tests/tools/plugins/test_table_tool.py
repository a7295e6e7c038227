"""A table of the user's own as a tool."""

import pytest

from tests.tools.plugins.tables import FACTS, NO_TEXT, answer, indexes
from toolformer.home.home import Home
from toolformer.home.wiring.toolbox import open_tool
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.settings_file import load_settings
from tools.errors import ToolCallError, ToolSettingsError
from tools.plugins.table_names import folded
from tools.plugins.table_tool import TABLE_TOOL
from tools.prompting import demonstrations_of, load_prompt
from tools.protocol import Document
from tools.registry import create_tool
from tools.running.contract import Trial

# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    {
        "Barack Obama, place of birth": "Honolulu",
        "BARACK  obama,Place_of_Birth": "Honolulu",
        "Peter F Martin, year of birth": "1941",
        "Müller, Sohn & Co, founded in": "Köln",
        "muller sohn & co, founded in": "Köln",
        "Albert Einstien, place of birth": "not_found",
        "Ada Lovelace, occupation": "mathematician; writer",
        "#5, place of birth": "Nowhere",
        "IT, field": "computing",
        "It, field": "horror",
        "it, field": "ambiguous",
        "Barack Obama, height": "no_relation",
        "Ada Lovelace, place of birth": "no_value",
        "Michelle Obama, place of birth": "not_found",
        "5, place of birth": "not_found",
        "Albert Einsteins, place of birth": "not_found",
        ", place of birth": "not_found",
        "Barack Obama": "no_relation_given",
        "x" * 301 + ", field": "too_long",
        "\ud800, field": "not_found",
    }.items(),
)
def test_a_call_finds_the_name_that_is_meant_and_no_other(make, arguments, expected):
    assert answer(make(), arguments) == expected


def test_messages_name_what_the_table_has(make):
    tool = make()
    for arguments, told in {
        "it, field": "may be IT, It",
        "Ada Lovelace, place of birth": "it has occupation",
        "Ada Lovelace, age": "Expected field, founded in, occupation",
    }.items():
        with pytest.raises(ToolCallError, match=told):
            tool.call(arguments, NO_TEXT)


def test_folding_keeps_what_tells_names_apart():
    assert folded("São_Paulo") == folded(" SAO  PAULO ") == folded("Sao-Paulo")
    assert folded("Œuvre of Łódź") == "oeuvre of lodz"
    assert len({folded(name) for name in ("C", "C#", "C++", "C*")}) == 4
    assert len({folded(name) for name in ("3.5", "35", "3 5", "-5", "5", "3-5", "3/5")}) == 7
    # Marks of other scripts make other letters.
    assert folded("ガキ") != folded("カキ")


# --- places and prompts ---------------------------------------------------------------------------


def proposed(tool, text):
    return [
        (each.arguments, text[each.offset :].split(" ")[0])
        for each in tool.proposals(Document("d", text))
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "Peter F Martin (born 1941) is a politician.": [("Peter F Martin, year of birth", "1941)")],
        "BARACK OBAMA came from Honolulu. In 1961 Honolulu was small.": [
            ("BARACK OBAMA, place of birth", "Honolulu."),
            ("BARACK OBAMA, year of birth", "1961"),
        ],
        "In Honolulu lived Barack Obama, and Honolulu was small.": [],
        "In 1961, Barack Obama was born.": [],
        "Barack Obama won 19612 votes and 1961.5 crowns in Honolulus.": [],
        "barack obama was born in Honolulu.": [],
        "It was horror.": [("It, field", "horror.")],
        "it was horror.": [],
        "He met Barack. Obama came from Honolulu.": [],
        "Barack\nObama came from Honolulu.": [],
        "The Müller, Sohn & Co works of KÖLN": [("Müller, Sohn & Co, founded in", "KÖLN")],
        "Albert Einstien came from Ulm.": [],
        "": [],
    }.items(),
)
def test_values_are_proposed_that_follow_their_subject_for_the_first_time(make, text, expected):
    tool = make()
    assert proposed(tool, text) == expected
    assert tool.preselect(Document("d", text)).is_selected == bool(expected)
    for arguments, value in expected:
        assert answer(tool, arguments).casefold() in value.casefold()


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "张伟民出生于北京，后来搬到了上海。": [("张伟民", "北京")],
        "昨日、山田花子は京都で生まれた。": [("山田花子", "京都")],
        "山田 花子さんは京都の人": [("山田 花子", "京都")],
        "아침에 김철수는 서울에서 왔다": [("김철수", "서울")],
        "วันนี้สมชายไปเชียงใหม่แล้ว": [("สมชาย", "เชียงใหม่")],
        "Ann Holt出生于Oxney。": [("Ann Holt", "Oxney")],
        "张伟，民出生于北京": [],
        "Joann Holt出生于Oxney": [],
        # Neither a letter that may be part of any word, nor one that goes on.
        "王国在北京": [],
        "สมชายา้ เชียงใหม่": [("สมชาย", "เชียงใหม่")],
        "สมชายี เชียงใหม่": [],
    }.items(),
)
def test_names_of_scripts_without_blanks_are_found_in_their_texts(make, text, expected):
    rows = "张伟民,北京\n山田花子,京都\n김철수,서울\nสมชาย,เชียงใหม่\nAnn Holt,Oxney\n王,北京\n"
    tool = make(f"name,town\n{rows}", key=["name"], values=["town"])
    found = [(each.arguments, text[each.offset :]) for each in tool.proposals(Document("d", text))]
    assert [arguments for arguments, _ in found] == [name for name, _ in expected]
    for (arguments, rest), (_, town) in zip(found, expected, strict=True):
        assert rest.startswith(town)
        assert answer(tool, arguments) == town


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("सीता को रामायण प्रिय है, राम भी।", "राम भी।"),
        ("Ann ate a cafe\u0301 in Cafe.", "Cafe."),
        ("Ann sees Rio in Ri\u0301o.", None),
    ],
)
def test_no_value_ends_in_front_of_a_vowel_sign_or_an_accent(make, text, expected):
    rows = "सीता,राम\nAnn,Cafe\nAnn,Ri\n"
    tool = make(f"name,friend\n{rows}", key=["name"], values=["friend"])
    found = [text[each.offset :] for each in tool.proposals(Document("d", text))]
    assert found == ([expected] if expected else [])


def test_long_texts_are_looked_through_to_their_end(make):
    tool = make("name,town\n张伟民,北京\n", key=["name"], values=["town"])
    text = "他们说今天天气很好" * 500
    for before in (text, text[:-1], text[:1999], text[:1998]):
        (found,) = tool.proposals(Document("d", f"{before}张伟民在北京"))
        assert found.offset == len(before) + 4


def test_each_relation_with_the_value_is_proposed(make):
    table = "subject,relation,object\nAnn Lee,born in,Bath\nAnn Lee,died in,Bath\nAnn,age,7\n"
    tool = make(table)
    assert proposed(tool, "Ann Lee of Bath was 7.") == [
        ("Ann Lee, born in", "Bath"),
        ("Ann Lee, died in", "Bath"),
    ]
    # The longer name is the one that is meant.
    assert proposed(tool, "Ann was 7.") == [("Ann, age", "7.")]


def test_the_prompt_shows_rows_that_can_stand_in_calls(make):
    table = 'subject,relation,object\n"a [1]",age,1\nb,age,2 -> 3\nc,age,"4\n5"\nd,age,6\ne,age,7\n'
    prompt = load_prompt("Facts", own=make(table).prompt)
    assert [shown for shown, _ in demonstrations_of(prompt)] == [
        "The age of d is 6.",
        "The age of e is 7.",
        "The age of d is 6.",
    ]
    glossary = make("term,object\nsky,blue\n", key=["term"])
    assert ("sky is blue.", ["Facts(sky)"]) in demonstrations_of(str(glossary.prompt))
    assert make("subject,relation,object\n[a],[b],[c]\n").prompt is None
    own = make(examples=[f"Ada {n} was a [Facts(Ada Lovelace, occupation)] writer." for n in "123"])
    assert demonstrations_of(str(own.prompt))[0][0] == "Ada 1 was a writer."


# --- as part of the project -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["facts", "wide", "glossary"])
def test_it_keeps_the_contract(tmp_path, kind):
    contents, key, values = {
        "facts": (FACTS, ["subject", "relation"], ["object"]),
        "wide": ("a,b,c\nx,1,2\ny,3,4\nz,5,6\n", ["a"], ["b", "c"]),
        "glossary": ("a,b\nx,1\ny,3\nz,5\n", ["a"], ["b"]),
    }[kind]
    (tmp_path / "facts.csv").write_text(contents)
    trial = Trial(
        "Facts",
        lambda given: create_tool("Facts", given, targets={"Facts": TABLE_TOOL}),
        {"table": "facts.csv", "key": key, "values": values, "folder": str(tmp_path)},
        read_prompt=lambda tool: load_prompt("Facts", own=tool.prompt),
        deadline_seconds=10.0,
    )
    assert {status for _, status, _ in trial.run()} == {"passed"}


def test_the_table_of_a_home_lies_beside_its_settings_and_is_read_by_the_worker(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "facts.csv").write_text(FACTS)
    (tmp_path / "toolformer.yaml").write_text(
        f"tools:\n  Facts:\n    class: {TABLE_TOOL}\n    options:\n"
        "      {table: tables/facts.csv, key: [subject, relation], values: [object]}\n"
    )
    home = Home(tmp_path)
    tool = open_tool(Workspace(load_settings(home.settings_file), home), "Facts")
    assert answer(tool, "Peter F Martin, year of birth") == "1941"
    assert answer(tool, "it, field") == "ambiguous"
    assert [path.name[:6] for path in indexes(home.table_indexes)] == ["Facts."]
    (tmp_path / "tables" / "facts.csv").unlink()
    with pytest.raises(ToolSettingsError, match="cannot be read"):
        _ = open_tool(Workspace(load_settings(home.settings_file), home), "Facts").version
