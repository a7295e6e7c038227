"""Models measured part by part, with a model that writes what it is told to."""

import json
import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from assets.evaluation import measuring
from assets.evaluation.comparisons import compare
from assets.evaluation.measured import TABLE, Answers
from assets.evaluation.measuring import Measuring
from assets.evaluation.questions import Questions
from assets.evaluation.tables import rounding_sentences
from tests.fakes import ScriptedModel
from tests.homes import write_lines
from tests.warehouse.rows import new_warehouse
from toolformer.decoding.completions import MinCallProbability
from toolformer.errors import DamagedModelError
from toolformer.evaluation.modes import DISABLED, enabled, modes_by_k
from toolformer.home.fingerprints import PARTS
from toolformer.home.home import Home
from toolformer.home.settings.sections import validated
from toolformer.home.wiring.evaluated_models import EvaluatedModel
from toolformer.home.wiring.toolbox import Toolbox
from tools.base import Tool
from tools.errors import ToolTimeoutError
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

MODES = [DISABLED, enabled(10)]
BASE_MODEL = EvaluatedModel(Path("model"), name="base")
QUESTIONS = 5


class Sum(Tool):
    """Answers 1; nothing while it is down, or down for these arguments."""

    name = "Calculator"
    version = "1"
    description = "Adds."
    is_down = False
    down_for: Collection[str] = ()

    def call(self, arguments, document):
        if self.is_down or arguments in self.down_for:
            raise ToolTimeoutError("no answer")
        return "1"


@pytest.fixture
def file(tmp_path) -> Path:
    return write_lines(tmp_path / "own.jsonl", questions(QUESTIONS))


# As the Calculator writes them.
DECIMALS = ("0.63", "2.70", "5.00")


def questions(count: int) -> list[dict[str, Any]]:
    return [{"id": f"q{n}", "question": f"Is it {n}", "answers": [str(n)]} for n in range(count)]


@pytest.fixture
def measure(tmp_path, file: Path, monkeypatch) -> Callable[..., Any]:
    """Measures, two items a part; returns what was asked, by how often."""
    monkeypatch.setattr(measuring, "_ITEMS_PER_PART", 2)
    home = Home(tmp_path / "home")
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(b"\0" * 100)
    store = new_warehouse(home.root)

    def measured(
        *,
        modes=MODES,
        others=(),
        tool: Tool | None = None,
        force: bool = False,
        template: str | None = None,
        benchmark: str = "own",
        **evaluation: Any,
    ) -> tuple[Measuring, list[str]]:
        asked = [*range(20), *DECIMALS]
        with_calls = [f"Q: Is it {n}? [Calculator({n} + 0) -> 1] {n}" for n in asked]
        model = ScriptedModel([*with_calls, *(f"Q: Is it {n}? {n}" for n in asked)])
        model.tokenizer.backend.chat_template = template
        described = {benchmark: {"path": str(file), "prompt": "Q: {question}"}}
        settings = validated(
            {
                "evaluation": {"questions": described, "benchmarks": [benchmark], **evaluation},
                "execution": {"attempts": 1},
            },
            origin="test",
        )
        run: Any = SimpleNamespace(
            settings=settings,
            home=home,
            warehouse=store,
            force=force,
            log=logging.getLogger("test"),
            holder=SimpleNamespace(load=lambda *_, precision: model, drop_copy=lambda: None),
            hold_device=lambda: "cpu",
            progress=lambda *_: lambda done, total: None,
        )
        work = Measuring(run, Toolbox({"Calculator": tool or Sum()}, {}, {}), [])
        work.measure(benchmark, EvaluatedModel(directory, name="base"), modes, others)
        return work, model.asked

    return measured


def scores(work: Measuring) -> dict[tuple[str, str], float | None]:
    rows = work.run.warehouse.query("select item_id, mode, score from evaluation_results").rows()
    return {(item, mode): score for item, mode, score in rows}


def test_items_are_stored_in_parts_and_are_then_up_to_date(measure):
    work, asked = measure()
    names = {each.name for each in work.run.warehouse.partitions(TABLE) if each.name != "empty"}
    assert names == {
        f"own.base.{mode}.{part:04d}" for mode in ("disabled", "enabled") for part in range(3)
    }
    assert set(scores(work).values()) == {1.0}
    assert len(scores(work)) == 2 * QUESTIONS
    assert work.states == {"own with base": {"done": 6}}
    assert asked
    work, asked = measure()
    assert (work.states, asked) == ({"own with base": {"up to date": 6}}, [])


def test_another_min_probability_asks_again_with_calls_and_a_study_of_k_does_without(measure):
    measure()
    likely = enabled(10, MinCallProbability(0.2, 0.1))
    work, _ = measure(modes=[DISABLED, likely])
    assert work.states == {"own with base": {"up to date": 3, "done": 3}}
    work, _ = measure(modes=modes_by_k([0, 10], with_calls=likely), others=[likely])
    assert work.states == {"own with base": {"up to date": 3, "done": 3}}
    rows = work.run.warehouse.query(
        "select distinct mode, call_top_k, min_call_probability, min_call_probability_behind_prompt"
        " from evaluation_results"
    ).rows()
    assert sorted(rows) == [
        ("disabled", 0, 0.0, 0.0),
        ("enabled", 10, 0.2, 0.1),
        ("k-10", 10, 0.0, 0.0),
    ]


def test_chats_stand_beside_the_other_form_and_depend_on_the_template(measure, tmp_path):
    measure()
    template = tmp_path / "model" / "chat_template.jinja"
    written = "{% for turn in messages %}{{ turn.content }}{% endfor %}"
    work, asked = measure(form="chat", template=written)
    template.write_text(written)
    assert asked
    names = {
        name: work.run.warehouse.view("evaluation_summary").filter(benchmark=name)["items"]
        for name in ("own", "own-chat")
    }
    assert {name: items.to_list() for name, items in names.items()} == {
        "own": [QUESTIONS] * 2,
        "own-chat": [QUESTIONS] * 2,
    }
    # The file was not there then.
    assert measure(form="chat", template=written)[1]
    assert not measure(form="chat", template=written)[1]
    assert not measure()[1]


def test_rows_of_a_study_stay_while_they_would_be_made_again_and_no_longer(measure):
    likely = enabled(10, MinCallProbability(0.2, 0.1))
    by_k = modes_by_k([0, 1, 10], with_calls=likely)
    without = replace(likely, name="without-Calculator", without_tool="Calculator")
    measure(modes=[*by_k, likely, without])

    def modes_left(**changed: Any) -> set[str]:
        work, _ = measure(others=[*by_k, changed.pop("without", without)], **changed)
        return {mode for _, mode in scores(work)}

    every = {"disabled", "enabled", "k-1", "k-10", "without-Calculator"}
    assert modes_left(modes=[DISABLED, likely]) == every
    # They are about rank alone; what is left out of is not.
    likelier = enabled(10, MinCallProbability(0.3, 0.1))
    changed = replace(likelier, name="without-Calculator", without_tool="Calculator")
    left = modes_left(modes=[DISABLED, likelier], without=changed)
    assert left == every - {"without-Calculator"}
    tool = Sum()
    tool.version = "2"
    assert modes_left(modes=[DISABLED, likelier], tool=tool) == {"disabled", "enabled"}


def test_a_model_that_took_anothers_place_has_no_scores_of_that_one_by_another_benchmark(
    measure, tmp_path
):
    def items_by_benchmark(work: Measuring) -> dict[str, int]:
        summary = work.run.warehouse.view("evaluation_summary").filter(mode="disabled")
        return dict(summary.select("benchmark", "items").iter_rows())

    measure(benchmark="other")
    work, _ = measure()
    assert items_by_benchmark(work) == {"own": QUESTIONS, "other": QUESTIONS}
    compare(work.run)
    assert {*work.run.warehouse.view("evaluation_table")["benchmark"]} == {"own", "other"}
    (tmp_path / "model" / "model.safetensors").write_bytes(b"\1" * 100)
    work, _ = measure()
    assert items_by_benchmark(work) == {"own": QUESTIONS}
    for computed in ("score_intervals", "paired_differences"):
        assert work.run.warehouse.view(computed).is_empty()
    compare(work.run)
    assert {*work.run.warehouse.view("score_intervals")["benchmark"]} == {"own"}
    work, asked = measure(benchmark="other")
    assert asked
    assert items_by_benchmark(work) == {"own": QUESTIONS, "other": QUESTIONS}


def test_what_other_benchmarks_stored_of_a_model_is_not_looked_at_one_by_one(measure, monkeypatch):
    measure(benchmark="other")
    look, names = Warehouse.partition_version, []

    def looked(self, table: str, shard: str, name: str):
        names.append(name)
        return look(self, table, shard, name)

    monkeypatch.setattr(Warehouse, "partition_version", looked)
    measure()
    assert {name.partition(".")[0] for name in names} == {"own"}


def test_a_killed_run_goes_on_behind_its_last_part(measure, monkeypatch):
    replace = Warehouse.replace_partitions
    stored: list[str] = []

    def killed_later(self, made):
        if len(stored) == 3:
            raise KeyboardInterrupt
        stored.extend(name for _, name in made)
        replace(self, made)

    monkeypatch.setattr(Warehouse, "replace_partitions", killed_later)
    with pytest.raises(KeyboardInterrupt):
        measure()
    monkeypatch.setattr(Warehouse, "replace_partitions", replace)
    work, _ = measure()
    assert work.states == {"own with base": {"up to date": 3, "done": 3}}
    assert len(scores(work)) == 2 * QUESTIONS


def test_a_run_of_fewer_items_asks_the_first_and_takes_none_away(measure):
    work, _ = measure(items=1)
    (first,) = {item for item, _ in scores(work)}
    work, _ = measure(items=3)
    three = scores(work)
    assert work.items_asked == {"own": f"the first 3 of {QUESTIONS}"}
    assert len(three) == 2 * 3
    assert {item for item, _ in three} > {first}
    for fewer in (1, 2, 3):
        work, asked = measure(items=fewer)
        assert asked == []
        assert scores(work) == three
    work, _ = measure()
    every = scores(work)
    assert len(every) == 2 * QUESTIONS
    for fewer in (1, 3):
        work, asked = measure(items=fewer)
        assert asked == []
        assert set(work.states["own with base"]) == {"up to date"}
        assert scores(work) == every
    # Asked anew, none of those in the same part is lost either.
    work, _ = measure(items=1, force=True)
    assert scores(work) == every


def test_a_run_of_fewer_items_goes_on_with_a_part_in_which_a_tool_was_down(measure):
    tool = Sum()
    tool.down_for = {f"{n} + 0" for n in range(QUESTIONS)}
    measure(tool=tool)
    work, _ = measure(items=1)
    assert len(scores(work)) == 2 * QUESTIONS
    assert sum(score == 1.0 for score in scores(work).values()) == QUESTIONS + 2


def test_a_run_of_fewer_items_leaves_none_that_were_asked_under_other_settings(measure):
    measure()
    work, _ = measure(modes=[DISABLED, enabled(10, MinCallProbability(0.2, 0.1))], items=1)
    modes = [mode for _, mode in scores(work)]
    assert (modes.count("disabled"), modes.count("enabled")) == (QUESTIONS, 1)


def test_items_that_are_gone_leave_no_rows_behind(measure, file: Path):
    measure()
    write_lines(file, questions(3))
    work, _ = measure()
    assert {item for item, _ in scores(work)} == {"q0", "q1", "q2"}


def test_rows_of_a_model_that_was_replaced_go_in_every_mode(measure, tmp_path):
    measure(modes=modes_by_k([0, 1, 10], with_calls=enabled(10)))
    (tmp_path / "model" / "config.json").write_text('{"retrained": true}')
    work, _ = measure(modes=[DISABLED])
    assert {mode for _, mode in scores(work)} == {"disabled"}


@pytest.mark.parametrize("change", ["model", "questions", "tool", "mode"])
def test_a_model_that_cannot_be_loaded_costs_no_earlier_rows(
    measure, tmp_path, file: Path, monkeypatch, change: str
):
    work, _ = measure()
    before, tool, modes = scores(work), Sum(), MODES
    if change == "model":
        (tmp_path / "model" / "config.json").write_text('{"damaged": true}')
    elif change == "questions":
        write_lines(file, questions(3))
    elif change == "tool":
        tool.version = "2"
    else:
        modes = [DISABLED, enabled(10, MinCallProbability(0.2, 0.1))]

    def refuse(*_, **__) -> None:
        raise DamagedModelError("The model is damaged.")

    with monkeypatch.context() as patched:
        patched.setattr(Questions, "ask", refuse)
        with pytest.raises(DamagedModelError):
            measure(tool=tool, modes=modes)
    assert scores(work) == before
    work, _ = measure(tool=tool, modes=modes)
    assert len(scores(work)) == (6 if change == "questions" else 2 * QUESTIONS)


def test_a_run_killed_after_items_moved_leaves_none_twice(measure, file: Path, monkeypatch):
    work, _ = measure()
    file.write_text("".join(file.read_text().splitlines(keepends=True)[2:]))
    ensure = Answers.ensure

    def killed_behind_the_first(answers: Answers) -> str:
        ensure(answers)
        raise KeyboardInterrupt

    monkeypatch.setattr(Answers, "ensure", killed_behind_the_first)
    with pytest.raises(KeyboardInterrupt):
        measure()
    rows = work.run.warehouse.query("select item_id, mode from evaluation_results").rows()
    assert rows
    assert len(rows) == len(set(rows))


def test_items_whose_tool_failed_are_asked_again_and_no_others(measure):
    tool = Sum()
    # One of the two items of a part, in two parts.
    tool.down_for = {"1 + 0", "4 + 0"}
    measure(tool=tool)
    work, asked = measure()
    assert work.states == {"own with base": {"up to date": 4, "done": 2}}
    assert set(scores(work).values()) == {1.0}
    beginnings = {context[:10] for context in asked if len(context) >= 10}
    assert beginnings == {"Q: Is it 1", "Q: Is it 4"}


def test_what_has_no_score_is_told_by_every_run(measure, file: Path):
    long = {"id": "long", "question": "Is it long? " * 400, "answers": ["yes"]}
    file.write_text(f"{file.read_text()}{json.dumps(long)}\n" + '{"question": "Who?"}\n')
    left_out = {"rows of the file": 1, "prompt_too_long": len(MODES)}
    for state in ("done", "up to date"):
        work, _ = measure()
        assert work.states == {"own with base": {state: 6}}
        assert work.left_out("own", BASE_MODEL) == left_out


def test_rounded_answers_count_in_every_mode_by_a_rule_that_is_named_and_told(measure, file: Path):
    rows = [{"id": n, "question": f"Is it {n}", "answers": f"{n}4"} for n in DECIMALS]
    write_lines(file, rows)
    described = {"path": str(file), "prompt": "Q: {question}", "scoring": "number"}
    work, _ = measure(questions={"own": described})
    rows = work.run.warehouse.query("select mode, score, counted_by from evaluation_results").rows()
    assert sorted(rows) == sorted(
        (mode, 1.0, "rounded_number") for mode in ("disabled", "enabled") for _ in range(3)
    )
    (sentence,) = rounding_sentences(work.run.warehouse.view("evaluation_summary")).values()
    assert sentence.startswith("100.0% of the items need more than two decimals")
    work, _ = measure()
    rows = work.run.warehouse.query("select distinct counted_by from evaluation_results").rows()
    assert rows == [("words",)]
    assert rounding_sentences(work.run.warehouse.view("evaluation_summary")) == {}


def test_a_tool_that_a_benchmark_blocks_is_part_of_the_answers_with_calls(measure, file: Path):
    measure(items=1)
    blocked = {"path": str(file), "prompt": "Q: {question}", "blocked_tools": ["Calculator"]}
    work, _ = measure(items=1, questions={"own": blocked})
    assert work.states == {"own with base": {"up to date": 1, "done": 1}}


def test_the_tools_that_may_be_called_are_part_of_the_answers(measure):
    work, _ = measure(items=1)

    def versions(mode: str) -> dict[str, str] | None:
        stored = work.run.warehouse.partition_metadata(TABLE, ALL, f"own.base.{mode}.0000")
        assert stored is not None
        named = json.loads(stored[PARTS]).get("tool_versions")
        return None if named is None else json.loads(named)

    assert versions("enabled") == {"Calculator": "1"}
    assert versions("disabled") is None
