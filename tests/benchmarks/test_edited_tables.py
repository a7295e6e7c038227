"""Tables that are edited under the questions of a benchmark."""

from contextlib import suppress

import pytest

from benchmarks import edited_tables as module
from benchmarks.edited_tables import EditedTables, edited_tables
from tests.homes import write_lines
from toolformer.errors import ToolformerError
from toolformer.evaluation.benchmarks.question_file import QuestionFile
from toolformer.home.home import Home
from toolformer.home.wiring.benchmarks import configured_benchmark, items_of
from toolformer.home.wiring.toolbox import Toolbox, options_of
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.sections import Settings, validated
from tools.errors import ToolCallError
from tools.plugins.table_tool import TABLE_TOOL, TableTool
from tools.protocol import Document

ROWS = (
    ("Ada Lund", "place of birth", "Paris"),
    ("Ada Lund", "profession", "baker"),
    ("Bo Gren", "place of birth", "Rome"),
    ("Cy Holm", "place of birth", "Oslo"),
    ("Cy Holm", "residence", "Oslo"),
)
QUESTIONS = (
    {"id": "ada", "question": "Ada Lund was born in", "answers": ["Paris"]},
    {"id": "cy", "question": "The birthplace of Cy Holm is", "answers": ["Oslo"]},
    # Neither is a question that the table answers.
    {"id": "bo", "question": "Bo Gren works as a", "answers": ["barber"]},
    {"id": "eve", "question": "Eve Berg was born in", "answers": ["Paris"]},
)


@pytest.fixture
def home(tmp_path) -> Home:
    lines = [",".join(row) for row in (("subject", "relation", "value"), *ROWS)]
    (tmp_path / "facts.csv").write_text("\n".join(lines) + "\n")
    write_lines(tmp_path / "own.jsonl", list(QUESTIONS))
    return Home(tmp_path)


def settings_of(home: Home, **options: object) -> Settings:
    own = {"path": str(home.root / "own.jsonl"), "prompt": "{question}"}
    table = {"table": "facts.csv", "key": ["subject", "relation"], "values": ["value"]}
    facts = {"class": TABLE_TOOL, "options": {**table, **options}}
    return validated(
        {
            "tools": {"Facts": facts},
            "evaluation": {"benchmarks": ["own"], "questions": {"own": own}},
        },
        origin="test",
    )


def opened(work: Workspace, **_: object) -> Toolbox:
    """The table tool alone, in this process."""
    return Toolbox({"Facts": TableTool("Facts", **options_of(work, "Facts"))}, {}, {})


@pytest.fixture
def edited(home: Home, monkeypatch):
    monkeypatch.setattr(module, "open_toolbox", opened)

    def made(edit, settings: Settings | None = None) -> EditedTables:
        settings = settings or settings_of(home)
        benchmark = configured_benchmark("own", settings)
        assert isinstance(benchmark, QuestionFile)
        items, _ = items_of(benchmark)
        tools = opened(Workspace(settings, home))
        return edited_tables(Workspace(settings, home), tools, benchmark, items, edit)

    return made


def answer(edited: EditedTables, arguments: str) -> str:
    return edited.tools.tools["Facts"].call(arguments, Document("", ""))


def test_a_changed_value_is_what_the_table_and_the_question_say_then(edited):
    changed = edited("changed")
    gold = {key: set(item.gold) for key, item in changed.items.items()}
    # Residence has no other value, so that Oslo stays right there.
    assert gold == {"ada": {"Oslo"}}
    assert answer(changed, "Ada Lund, place of birth") == "Oslo"
    # What nobody asks for stays.
    assert answer(changed, "Ada Lund, profession") == "baker"
    assert answer(changed, "Bo Gren, place of birth") == "Rome"


def test_all_rows_of_a_subject_are_deleted_and_what_was_right_stays_right(edited):
    deleted = edited("deleted")
    assert {key: item.gold for key, item in deleted.items.items()} == {
        "ada": ("Paris",),
        "cy": ("Oslo",),
    }
    for arguments in ("Ada Lund, place of birth", "Cy Holm, place of birth"):
        with pytest.raises(ToolCallError, match="has no"):
            answer(deleted, arguments)
    assert answer(deleted, "Bo Gren, place of birth") == "Rome"


def test_where_questions_ask_for_every_subject_some_rows_stay(edited, home):
    asked = [
        {"id": name, "question": f"{name} was born in", "answers": [place]}
        for name, relation, place in ROWS
        if relation == "place of birth"
    ]
    write_lines(home.root / "own.jsonl", asked)
    deleted = edited("deleted")
    answered = set()
    for name, relation, _ in ROWS[::2] + ROWS[3:4]:
        with suppress(ToolCallError):
            answered.add((name, answer(deleted, f"{name}, {relation}")))
    # Two thirds of the subjects are gone, and only these are asked for.
    assert len(answered) == 1
    assert {*deleted.items} == {"Ada Lund", "Bo Gren", "Cy Holm"} - {name for name, _ in answered}
    # One alone cannot be deleted beside others.
    write_lines(home.root / "own.jsonl", asked[:1])
    one = settings_of(
        home, table="from (values ('Ada Lund', 'born', 'Paris')) t(subject, relation, value)"
    )
    with pytest.raises(ToolformerError, match="a table with other values and subjects"):
        edited("deleted", one)


def test_a_table_of_one_column_and_an_alias_whose_relation_is_gone_are_edited_too(edited, home):
    (home.root / "towns.csv").write_text("who,town\nAda Lund,Paris\nBo Gren,Rome\n")
    one = settings_of(home, table="towns.csv", key=["who"], values=["town"])
    assert answer(edited("changed", one), "Ada Lund") == "Rome"
    # Only Cy Holm has one.
    aliased = settings_of(home, aliases=["lives in = residence", "born in = place of birth"])
    assert answer(edited("deleted", aliased), "Bo Gren, born in") == "Rome"


def test_what_cannot_be_studied_is_told(edited, home):
    without = validated({}, origin="test")
    benchmark = configured_benchmark("own", settings_of(home))
    with pytest.raises(ToolformerError, match=f"Expected one with `class: {TABLE_TOOL}`"):
        edited_tables(Workspace(without, home), Toolbox({}, {}, {}), benchmark, [], "deleted")
    write_lines(home.root / "own.jsonl", [QUESTIONS[-1]])
    with pytest.raises(ToolformerError, match="No question of 'own' asks for a fact of Facts"):
        edited("deleted")
