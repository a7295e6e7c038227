"""Scores of before beside new ones: which stay, and which go."""

from pathlib import Path

import pytest

from assets.evaluation.answers import Answers
from assets.evaluation.comparisons import compare
from assets.evaluation.evaluator import Evaluator
from assets.evaluation.questions import Questions
from tests.assets.evaluation.conftest import MODES, QUESTIONS, Sum, questions, scores
from tests.homes import write_lines
from toolformer.decoding.completions import MinCallProbability
from toolformer.errors import ModelNotFoundError
from toolformer.evaluation.modes import DISABLED, Mode, enabled
from warehouse.warehouse import Warehouse


def test_rows_of_other_modes_go_with_the_next_measurement(measure):
    modes = {each.name: each for each in (*MODES, Mode("k-1", 1), Mode("k-3", 3))}
    work, _ = measure(modes=list(modes.values()))
    assert {mode for _, mode in scores(work)} == {*modes}
    work, asked = measure()
    assert {mode for _, mode in scores(work)} == {"disabled", "enabled"}
    assert not asked


def test_a_model_that_took_anothers_place_has_no_scores_of_that_one_by_another_benchmark(
    measure, tmp_path
):
    def items_by_benchmark(work: Evaluator) -> dict[str, int]:
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
    measure(modes=[*MODES, Mode("k-1", 1)])
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
        raise ModelNotFoundError("The model is damaged.")

    with monkeypatch.context() as patched:
        patched.setattr(Questions, "ask", refuse)
        with pytest.raises(ModelNotFoundError):
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
