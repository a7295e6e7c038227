"""Models measured part by part."""

import json
from pathlib import Path

import pytest

from assets.evaluation.answers import TABLE
from tests.assets.evaluation.conftest import DECIMALS, MODES, QUESTIONS, Sum, scores
from tests.homes import write_lines
from toolformer.decoding.completions import MinCallProbability
from toolformer.evaluation.modes import DISABLED, Mode, enabled
from toolformer.home.fingerprints import FINGERPRINT, PARTS
from toolformer.home.wiring.models import EvaluatedModel
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

BASE_MODEL = EvaluatedModel(Path("model"), name="base")


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


def test_another_min_probability_asks_again_with_calls_and_other_modes_keep_their_own(measure):
    measure()
    likely = enabled(10, MinCallProbability(0.2, 0.1))
    work, _ = measure(modes=[DISABLED, likely])
    assert work.states == {"own with base": {"up to date": 3, "done": 3}}
    work, _ = measure(modes=[DISABLED, likely, Mode("k-10", 10)])
    assert work.states == {"own with base": {"up to date": 6, "done": 3}}
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


def test_parts_in_which_a_tool_was_down_for_other_items_are_told_apart(measure):
    tool, found = Sum(), set[str]()
    for number in range(QUESTIONS):
        tool.down_for = {f"{number} + 0"}
        store = measure(tool=tool, force=True)[0].run.warehouse
        names = (each.name for each in store.partitions(TABLE))
        stored = (store.partition_metadata(TABLE, ALL, name) for name in names)
        [unfinished] = (each for each in stored if "failed_calls" in each.get(PARTS, ""))
        found.add(unfinished[FINGERPRINT])
    assert len(found) == QUESTIONS


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
    summary = work.run.warehouse.view("evaluation_summary")
    assert set(summary["share_beyond_two_decimals"]) == {1.0}
    work, _ = measure()
    rows = work.run.warehouse.query("select distinct counted_by from evaluation_results").rows()
    assert rows == [("words",)]
    summary = work.run.warehouse.view("evaluation_summary")
    assert not summary["share_beyond_two_decimals"].sum()


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
