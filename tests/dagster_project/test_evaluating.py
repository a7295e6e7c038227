"""Which models `toolformer evaluate` asks by which benchmarks; nothing is run."""

import json
from pathlib import Path
from typing import Any

import pytest

from assets.training.benchmark_texts import benchmark_texts
from assets.training.finetuned_model import model_fingerprint, training_run_name
from assets.training.min_call_probability import MIN_CALL_PROBABILITY
from assets.training.training_inputs import TrainingInputs
from dagster_project.commands import evaluate
from dagster_project.runs.planned_run import PlannedRun
from tests.toolformer.evaluation.benchmarks.question_files import write_lines
from tests.warehouse.rows import SHARD, put
from toolformer.base.model_files import MIN_CALL_PROBABILITY_FILE, RECORD_FILE
from toolformer.decoding.calibration import CalibratedProbability, min_call_probability_text
from toolformer.home.expected_errors import RunFailedError
from toolformer.home.home import Home
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.settings_file import load_settings
from toolformer.sources.manifest import Manifest, ShardEntry
from tools.model_identity import model_identity
from warehouse.warehouse import Warehouse


@pytest.mark.parametrize(
    ("flags", "models"),
    [
        ((), ["base", "finetuned"]),
        (("--variant", "plain"), ["base", "plain"]),
        (("--models", "large,base"), ["large", "base"]),
    ],
)
def test_each_model_is_asked_by_all_benchmarks(
    run, home: Path, monkeypatch, flags: tuple[str, ...], models: list[str]
):
    started: list[PlannedRun] = []

    def execute_runs(*given: Any) -> list[RunFailedError]:
        started.extend(given[-1])
        return []

    monkeypatch.setattr(evaluate, "execute_runs", execute_runs)
    command = ("evaluate", "--benchmarks", "perplexity,dateset", "--set")
    assert run(*command, "evaluation.models={large: large}", *flags).code == 0
    keys = {model: (f"perplexity|{model}", f"dateset|{model}") for model in models}
    assert started == [
        *(PlannedRun("evaluate", ("evaluation_results",), keys[model]) for model in models),
        PlannedRun("evaluate", ("evaluation_report",)),
    ]


def test_what_answers_are_and_rows_left_out_are_told(run, home: Path, monkeypatch, tmp_path):
    monkeypatch.setattr(evaluate, "execute_runs", lambda *_given: [])
    file = tmp_path / "gsm.jsonl"
    write_lines(file, {"question": "How many?", "answer": "2*3=6\n#### 6"}, {"question": "Why?"})
    described = f"evaluation.questions.gsm={{path: {file}, answers: answer}}"
    outcome = run("evaluate", "--benchmarks", "gsm", "--set", described)
    assert "gsm leaves out 1 rows. The first: gsm.jsonl, row 2: column 'answer' is" in outcome.out
    assert "gsm: 1 of 1 answers are the text after the last #### of a solution.\n" in outcome.out


def test_an_unknown_model_is_refused(run, home: Path):
    outcome = run("evaluate", "--benchmarks", "dateset", "--models", "largest")
    assert outcome.is_one_paragraph_naming("'largest'", "evaluation.models")


def test_a_model_that_training_would_make_anew_is_told(
    run, home: Home, warehouse: Warehouse, tmp_path, monkeypatch
):
    monkeypatch.setattr(evaluate, "execute_runs", lambda *_, **__: [])
    base, directory = tmp_path / "base", home.finetuned_model(1)
    for folder in (base, directory):
        folder.mkdir(parents=True)
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            (folder / name).write_text("{}")
    home.settings_file.write_text(f"language_model: {{path: {base}}}\n")
    work = Workspace(load_settings(home.settings_file), home)
    made = TrainingInputs.load(work, benchmark_texts(work.settings)).expected(work).fingerprint
    put(warehouse, "training_texts", {}, **made.metadata())
    model = model_fingerprint(work, made.digest)
    curve = training_run_name(model.digest)
    put(warehouse, "training_metrics", {"run": curve}, name=curve, **model.metadata())
    (directory / RECORD_FILE).write_text(json.dumps({"fingerprint": model.digest}))

    of_model = {"language_model": [model_identity(directory), None]}
    made_from = MIN_CALL_PROBABILITY.fingerprint(work.settings, of_model).metadata()
    chosen = CalibratedProbability(0.5, 0.5, None, 10, 8, 8, made_from=made_from)
    (directory / MIN_CALL_PROBABILITY_FILE).write_text(min_call_probability_text(chosen))

    def told(*flags: str) -> str:
        outcome = run("evaluate", "--models", "base,finetuned", *flags)
        assert outcome.code == 0, outcome.err
        return outcome.out

    assert "is out of date" not in told("--benchmarks", "perplexity")
    calibrated = "The minimum call probability of finetuned is out of date"
    assert calibrated in told("--set", "decoding.call_top_k=3")
    given = ("--set", "decoding.min_call_probability=0.5")
    assert calibrated not in told("--set", "decoding.call_top_k=3", *given)
    (directory / "model.safetensors").write_text("[]")
    assert calibrated in told()
    assert "(changed: training.epochs). Run `toolformer train" in told("--set", "training.epochs=9")
    Manifest(next_number=1, shards=[ShardEntry(SHARD, "texts.jsonl", 0, 1, "d", False)]).save(
        home.sources
    )
    put(warehouse, "augmented_texts", fingerprint="of other calls")
    assert "(changed: training set). Run `toolformer train" in told()
