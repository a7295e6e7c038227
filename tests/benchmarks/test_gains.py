"""The measurements of docs/results.md begin in a new folder, and the documents' commands parse."""

import argparse
import gzip
import json
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gains
from dagster_project.commands.options import RunOptions, names_in
from tests.conftest import REPOSITORY
from tests.test_command_blocks import parsed_commands
from toolformer.decoding.calibration import (
    MIN_CALL_PROBABILITY_FILE,
    CalibratedProbability,
    ToolThresholds,
    min_call_probability_text,
    read_min_call_probability,
)
from toolformer.evaluation.benchmarks.benchmark import BenchmarkItem
from toolformer.home.home import Home
from toolformer.home.wiring.benchmarks import configured_benchmark
from toolformer.home.wiring.models import check_model_name
from toolformer.home.wiring.workspace import open_warehouse

SOLUTION = "He has 1+2 = 3 eggs.\nHe eats 3-1 = 2 eggs."
PROBLEM = {"id": "a", "question": "How many eggs?", "solution": SOLUTION}
PROBLEM |= {"text": f"How many eggs?\n{SOLUTION}\nThe answer is 2."}
QUESTION = {"id": "a", "question": "1 + 1?", "answer": 2.0, "answers": ["two"]}
DATA = {
    "text/worked_problems": PROBLEM,
    "text/web_docs": {"text": "On Monday.", "url": "https://example.org"},
    "text/wiki_passages": {"title": "Oslo", "text": "Oslo is a town."},
    "lama_squad": {"masked_sentence": "Oslo is in [MASK].", "answer": "Norway"},
    **dict.fromkeys(("asdiv", "svamp", "mawps", "triviaqa"), QUESTION),
}
CHOSEN = CalibratedProbability(
    0.05, 0.1, None, 10, 8, 8, min_call_probability_by_tool={"Facts": ToolThresholds(0.2, 0.3, 8)}
)
PROGRAM = re.compile(r"python -m (benchmarks\.[^`#\n]+)")
PAGES = ("results", "measurements", "models")


@pytest.fixture
def measure(tmp_path, monkeypatch) -> Callable[[str], list[str]]:
    """Runs a measurement in a new folder; the commands, which are checked but not run."""
    for name, row in DATA.items():
        file = tmp_path / "data" / f"{name}.jsonl.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(f"{json.dumps(row)}\n".encode()))
    commands: list[str] = []

    def check(root: Path, *arguments: str, module: str = "toolformer") -> float:
        home = Home(root)
        commands.append(shlex.join(arguments))
        if module == "benchmarks.studies":
            return 0.0
        (command,) = parsed_commands(f"toolformer {commands[-1]}")
        options = RunOptions.of(command.params.get("changes"))
        settings = options.load_settings(home)
        assert all(Path(source.path).is_file() for source in settings.corpus.sources)
        for model in names_in(command.params.get("models")):
            check_model_name(model, settings)
        for name in settings.evaluation.benchmarks:
            if not settings.evaluation.is_text(name):
                assert isinstance(
                    next(iter(configured_benchmark(name, settings).items())), BenchmarkItem
                )
        if arguments[0] == "train":
            trained = home.finetuned_model(settings.sampling.round)
            trained.mkdir(parents=True, exist_ok=True)
            (trained / MIN_CALL_PROBABILITY_FILE).write_text(min_call_probability_text(CHOSEN))
        if not home.warehouse.exists():
            open_warehouse(home).prepare()
        return 0.0

    def run(arguments: str) -> list[str]:
        folders = ["--data", str(tmp_path / "data"), "--work", str(tmp_path / "work")]
        monkeypatch.setattr(sys, "argv", ["gains", *arguments.split(), *folders])
        gains.main()
        return commands

    monkeypatch.setattr(gains, "run_command", check)
    return run


@pytest.mark.slow
def test_the_preset_is_one_recipe(measure: Callable[[str], list[str]], tmp_path):
    assert measure("preset --seed 3") == ["recipe small"]
    figures = json.loads((tmp_path / "work" / "preset-3" / "figures.json").read_text())
    assert {"machine", "scores", "gains", "calls"} <= set(figures)


@pytest.mark.slow
def test_growth_and_chained_calls_train_each_size_once_and_then_chain(
    measure: Callable[[str], list[str]], tmp_path
):
    measure("growth --problems 100 50")
    commands = measure("chained --problems 50")
    in_round = "--set sampling.round={} --set sampling.shards={}".format
    begin = ["build --rounds 1"]
    for size in (1, 2):
        begin += [f"{name} {in_round(2, size)}" for name in ("build", "train")]
        begin.append(evaluation_of(f"problems-{50 * size}", in_round(2, size), tmp_path))
    # The model of 100 problems is not to annotate the texts of 50.
    again = [f"{name} {in_round(number, 1)}" for number in (2, 3) for name in ("build", "train")]
    chained = [
        evaluation_of(
            f"chained-50-{calls}-calls",
            f"--set decoding.max_calls={calls} {in_round(3, 1)}",
            tmp_path,
        )
        for calls in (1, 3)
    ]
    assert commands == [*begin, begin[0], begin[3], *again, *chained]
    assert {path.stem for path in (tmp_path / "work" / "growth-0").glob("figures-*")} == {
        "figures-50",
        "figures-100",
        "figures-chained-50",
    }


@pytest.mark.slow
def test_both_families_are_annotated_trained_and_asked_in_one_model(
    measure: Callable[[str], list[str]], tmp_path
):
    facts = {"sub_label": "Ann", "answer": "Oslo", "template_prompt": "Ann is from [MASK]."}
    facts |= {"id": "f", "masked_sentences": ["Ann came from [MASK]."]}
    for name, relation in (("google_re", "place_of_birth"), ("trex", "P19")):
        row = gzip.compress(json.dumps(facts | {"relation": relation}).encode())
        (tmp_path / "data" / f"lama_{name}.jsonl.gz").write_bytes(row)
    one_value = tmp_path / "work" / "both-0" / "sizes" / "one-value"
    in_round = "--set sampling.round=2"
    assert measure("both --problems 50") == [
        "build --rounds 2",
        f"train {in_round}",
        f"evaluate --models base,finetuned {in_round}",
        "evaluate --models finetuned,one-value --set "
        f"evaluation.models.one-value={one_value} {in_round}",
        f"openings {in_round}",
    ]
    stored = read_min_call_probability(one_value)
    assert stored == replace(CHOSEN, min_call_probability_by_tool={})


def evaluation_of(model: str, flags: str, folder: Path) -> str:
    path = folder / "work" / "growth-0" / "sizes" / model
    return f"evaluate --models {model} --set evaluation.models.{model}={path} {flags}"


class ParsedError(Exception):
    """The flags are right; the program ends here."""


def programs() -> list[str]:
    texts = [(REPOSITORY / "docs" / f"{page}.md").read_text() for page in PAGES]
    return sorted({found.strip() for text in texts for found in PROGRAM.findall(text)})


@pytest.mark.parametrize("program", programs())
def test_the_programs_of_the_documents_have_the_right_flags(program: str, monkeypatch):
    parse = argparse.ArgumentParser.parse_args

    def parse_alone(*arguments: Any) -> None:
        parse(*arguments)
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_alone)
    monkeypatch.setattr(sys, "argv", shlex.split(program))
    with pytest.raises(ParsedError):
        import_module(sys.argv[0]).main()
