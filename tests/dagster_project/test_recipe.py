"""`toolformer recipe`: what it writes, what it runs and in which order, and what it shows."""

import shutil
from pathlib import Path

import pytest

from dagster_project.commands import console, recipe
from tests.conftest import REPOSITORY
from tests.warehouse.rows import put
from toolformer.home.home import Home
from toolformer.settings.settings_file import load_settings
from warehouse.warehouse import Warehouse

ROUND_2 = ("base", "plain-round-2", "shuffled-round-2", "finetuned-round-2")


class Commands(list[str]):
    """What the recipe runs instead of running it."""

    failing = ""

    def run(self, *arguments: str, is_shown: bool) -> int:
        assert is_shown == (arguments == ("report",))
        self.append(" ".join(arguments))
        return 3 if arguments[0] == self.failing else 0


@pytest.fixture
def commands(monkeypatch) -> Commands:
    made = Commands()
    monkeypatch.setattr(recipe, "run_command", made.run)
    return made


@pytest.fixture
def small(home: Home) -> Home:
    """A home with the settings of the recipe, and files of the names that stand there."""
    home.root.mkdir(exist_ok=True)
    shutil.copy(REPOSITORY / "examples" / "small" / "toolformer.yaml", home.settings_file)
    settings = load_settings(home.settings_file)
    sources = (source.path for source in settings.corpus.sources)
    for path in map(Path, (*sources, *settings.evaluation.files.values())):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return home


def put_answers(
    warehouse: Warehouse,
    benchmark: str,
    model: str,
    mode: str,
    *,
    right: int,
    calls: int = 0,
    items: int = 10,
) -> None:
    """Answers to the first items, of which the first ones are right, or have a call."""
    rows = [
        {"benchmark": benchmark, "model": model, "mode": mode, "item_id": f"i{number}"}
        | {"score": float(number < right), "called_tool": "Calendar" if number < calls else None}
        for number in range(items)
    ]
    put(warehouse, "evaluation_results", *rows, name=f"{benchmark}.{model}.{mode}.0000")


def test_rounds_then_controls_then_the_evaluation_of_all(commands: Commands, small: Home, run):
    code, _, err = run("recipe", "small")
    assert (code, err) == (0, "")
    in_last = "--set sampling.round=2"
    assert commands == [
        "build --rounds 2",
        f"train --variant plain {in_last}",
        f"train --variant shuffled {in_last}",
        f"evaluate --models base,finetuned,plain,shuffled {in_last}",
        "report",
    ]


def test_a_file_that_is_missing_is_told_before_anything_is_done(
    commands: Commands, small: Home, run
):
    (small.root / "benchmarks" / "svamp.jsonl").unlink()
    assert run("recipe", "small").is_one_paragraph_naming("remove svamp from evaluation.files")
    (small.root / "texts" / "web_docs.jsonl").unlink()
    assert run("recipe", "small").is_one_paragraph_naming("web_docs.jsonl")
    assert commands == []


def test_the_demo_has_no_rounds_and_a_step_that_fails_ends_it(commands: Commands, home: Home, run):
    commands.failing = "train"
    code, _, err = run("recipe", "demo")
    assert (code, "to continue from here" in err) == (3, True)
    assert commands == ["build", "train"]
    assert load_settings(home.settings_file).preset == "demo"
    commands.failing = ""
    assert run("recipe", "demo")[0] == 0
    assert commands[2:] == ["build", "train", "evaluate", "report"]


def test_a_home_with_other_settings_is_refused_before_anything_is_done(
    commands: Commands, home: Home, run
):
    for name in ("small", "demo"):
        home.root.mkdir(exist_ok=True)
        home.settings_file.write_text("preset: laptop\n")
        assert run("recipe", name).is_one_paragraph_naming(
            "is not set up for this recipe: its preset is 'laptop', and it lists 0 sources"
        )
        assert commands == []


def test_the_table_says_what_calls_gain_over_each_control(
    commands: Commands, warehouse: Warehouse, small: Home, run, monkeypatch
):
    _, plain, shuffled, model = ROUND_2

    cells = [
        *((name, mode) for name in ROUND_2 for mode in ("disabled", "enabled")),
        ("plain", "disabled"),
    ]
    for number, (name, mode) in enumerate(cells):
        put_answers(warehouse, "dateset", name, mode, right=number, calls=number)
    pairs = [
        {"model": model, "mode": "enabled", "other_model": name, "other_mode": mode}
        for name, mode in cells
        if (name, mode) != (model, "enabled")
    ]
    put(warehouse, "paired_differences", *pairs, name="dateset")
    shown = []
    monkeypatch.setattr(console, "frame", shown.append)
    assert run("recipe", "small")[0] == 0
    (gains,) = shown
    select_list = ("benchmark", "against", "share_with_call", "score", "score_of_other")
    assert gains.select(select_list).rows() == [
        ("dateset", "its calls disabled", 0.7, 70.0, 60.0),
        ("dateset", plain, 0.7, 70.0, 20.0),
        ("dateset", shuffled, 0.7, 70.0, 50.0),
    ]


def test_scores_beside_a_gain_are_of_the_items_that_it_is_of(
    commands: Commands, warehouse: Warehouse, small: Home, run, monkeypatch
):
    _, plain, _, model = ROUND_2
    put_answers(warehouse, "sums", model, "enabled", right=3, calls=2, items=4)
    put_answers(warehouse, "sums", model, "disabled", right=1, items=4)
    # The first two items alone.
    put_answers(warehouse, "sums", plain, "disabled", right=0, items=2)
    own = {"benchmark": "sums", "model": model, "mode": "enabled", "other_mode": "disabled"}
    pairs = [
        own | {"other_model": name, "items": items} for name, items in ((model, 4), (plain, 2))
    ]
    put(warehouse, "paired_differences", *pairs, name="sums")
    shown = []
    monkeypatch.setattr(console, "frame", shown.append)
    code, out, _ = run("recipe", "small")
    assert code == 0
    (gains,) = shown
    assert gains.select("items", "share_with_call", "score", "score_of_other").rows() == [
        (4, 0.5, 75.0, 25.0),
        (2, 1.0, 100.0, 0.0),
    ]
    # What the control gets right is not told as the model's own.
    said = " ".join(out.split())
    assert said.count("the finetuned model gets") == 1
    assert "gets 1 right without calls and 3 with calls" in said


def test_the_demo_ends_with_a_sentence_for_each_of_its_two_gains(
    commands: Commands, warehouse: Warehouse, run
):
    for name, asked, right in (("sums", 40, 38), ("facts", 20, 19)):
        put_answers(warehouse, name, "finetuned", "disabled", right=0, items=asked)
        put_answers(warehouse, name, "finetuned", "enabled", right=right, items=asked)
        own = {"benchmark": name, "model": "finetuned", "items": asked}
        pair = own | {"mode": "enabled", "other_model": "finetuned", "p_value": 1e-6}
        put(warehouse, "paired_differences", pair, name=name)
    code, out, _ = run("recipe", "demo")
    said = " ".join(out.split())
    assert code == 0
    assert "On 40 sums in sentences outside the training texts, the finetuned model gets 0 " in said
    assert "gets 0 right without calls and 38 with calls (p = 1e-06, " in said
    assert (
        "On 20 questions about people who appear in none of the texts, "
        "the finetuned model gets 0 right " in said
    )
    assert "gets 0 right without calls and 19 with calls" in said


def test_the_demo_says_how_long_it_will_still_take(
    commands: Commands, warehouse: Warehouse, run, monkeypatch
):
    monkeypatch.setattr(recipe, "_TIMES_ANNOTATION", {"train": 0.9, "evaluate": 0.5, "report": 0.1})
    put(warehouse, "stage_costs", {"seconds": 60.0})
    put(warehouse, "stage_costs", {"seconds": 40.0}, shard="shard-00001")
    said = run("recipe", "demo")[1].splitlines()
    assert said[0] == recipe._DEMO_TAKES
    assert [line.partition("    ")[2] for line in said if line.startswith("$ toolformer")] == [
        "step 1 of 4",
        "step 2 of 4, about 150 s left",
        "step 3 of 4, about 60 s left",
        "step 4 of 4, about 10 s left",
    ]
