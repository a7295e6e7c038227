"""Which models `toolformer evaluate` asks by which benchmarks; nothing is run."""

from pathlib import Path
from typing import Any

import pytest

from dagster_project.commands import evaluating
from dagster_project.runs.planned_run import PlannedRun
from toolformer.home.expected_errors import RunFailedError


@pytest.mark.parametrize(
    ("flags", "models", "study"),
    [
        ((), ["base", "finetuned"], None),
        (("--study", "k"), ["finetuned"], "k"),
        (("--study", "tools", "--variant", "plain"), ["plain"], "tools"),
        (("--study", "sizes"), ["base", "finetuned", "large"], "sizes"),
        (("--study", "k", "--models", "large,base", "--on", "ray"), ["large", "base"], "k"),
    ],
)
def test_a_study_asks_its_models_by_the_benchmarks_that_have_questions(
    run, home: Path, monkeypatch, flags: tuple[str, ...], models: list[str], study: str | None
):
    started: list[PlannedRun] = []

    def run_all(*given: Any, on_ray: bool) -> list[RunFailedError]:
        assert on_ray == ("ray" in flags)
        started.extend(given[-1])
        return []

    monkeypatch.setattr(evaluating, "run_all", run_all)
    command = ("evaluate", "--benchmarks", "perplexity,dateset", "--set")
    assert run(*command, "evaluation.models={large: large}", *flags).code == 0
    benchmarks = ["dateset"] if study else ["perplexity", "dateset"]
    ops = {"evaluation_results": {"study": study}} if study else {}
    assert started == [
        *(
            PlannedRun(
                "evaluate",
                ("evaluation_results",),
                tuple(f"{benchmark}|{model}" for benchmark in benchmarks),
                ops,
            )
            for model in models
        ),
        PlannedRun("evaluate", ("evaluation_report",)),
    ]


def test_a_study_without_questions_and_of_an_unknown_model_is_refused(run, home: Path):
    command = ("evaluate", "--study", "k", "--benchmarks")
    outcome = run(*command, "perplexity")
    assert outcome.is_one_paragraph_naming("evaluation.benchmarks", "questions", "--list")
    outcome = run(*command, "dateset", "--models", "largest")
    assert outcome.is_one_paragraph_naming("'largest'", "evaluation.models")
