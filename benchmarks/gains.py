"""Measures what calls gain: the figures behind the tables and the plot of docs/results.md.

`preset` runs the preset `small` with its controls. `growth` measures the gain for increasing
numbers of annotated problems. `chained` first runs `growth`, then adds a round of chained calls.
`both` trains one model on facts and problems, then runs `openings`. `openings` compares the
finetuned model of a home with a copy that has one minimum call probability for all tools, and
forces a call in each answer. An interrupted command continues where it stopped.

    python -m benchmarks.gains preset --data DATA --work FOLDER --seed 0
    python -m benchmarks.gains growth --data DATA --work FOLDER --seed 0 --problems 150 600 2400
    python -m benchmarks.gains chained --data DATA --work FOLDER --seed 0 --problems 600
    python -m benchmarks.gains both --data DATA --work FOLDER --seed 0 --problems 300 [--model DIR]
    python -m benchmarks.gains openings --work HOME

The files of texts and benchmarks may be anywhere below DATA; `both` reads the files of
examples/facts from DATA/lama.
"""

import argparse
import gzip
import json
import re
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks.build import run_command
from benchmarks.machine import machine, versions
from toolformer.base.model_files import MIN_CALL_PROBABILITY_FILE
from toolformer.decoding.calibration import min_call_probability_text, read_min_call_probability
from toolformer.home.home import Home
from toolformer.home.wiring.workspace import open_warehouse
from toolformer.settings.presets import PRESETS
from warehouse.warehouse import Warehouse

MATHS = ("asdiv", "svamp", "mawps")
# File name prefixes of these benchmarks.
_PREFIXES = {"lama-squad": "lama_squad", "triviaqa": "triviaqa"}
_STEPS = "worked-steps"
# These are the last problems of the file; the first ones are annotated.
_HELD_OUT_PROBLEMS = 1000
_SHARD = 50
_STATEMENTS = {
    "scores": "select * from evaluation_summary order by all",
    # Differences of a calling model to itself without calls, and to its controls.
    "gains": """
        select * exclude (mode, other_mode) from evaluation_difference
        where mode = 'enabled' and (
            model = other_model and other_mode = 'disabled'
            or regexp_matches(model, '^finetuned') and (
                regexp_matches(other_model, '^plain') and other_mode = 'disabled'
                or regexp_matches(other_model, '^shuffled') and other_mode = 'enabled'
            )
        ) order by all
    """,
    "calls": "select * from call_statistics order by all",
    "use": "select * from call_use order by all",
    "thresholds": "select * from threshold_sweep order by all",
    "exclusions": "select * from training_exclusion_summary order by all",
    "costs": """
        select round, tool, stage, sum(seconds) as seconds, sum(tokens_fed) as tokens_fed
        from stage_costs group by all order by all
    """,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measurement", choices=("preset", "growth", "chained", "both", "openings"))
    parser.add_argument("--data", type=Path, default=Path())
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for the homes, or the home of `openings`"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--problems", type=int, nargs="+", default=[150, 600, 2400])
    parser.add_argument("--model", type=Path, help="for `both`: directory of another model")
    options = parser.parse_args()
    if options.measurement == "openings":
        _measure_openings(Home(options.work))
        return
    sizes = sorted(options.problems)
    kind = "growth" if options.measurement == "chained" else options.measurement
    home = Home(options.work / f"{kind}-{options.seed}")
    home.root.mkdir(parents=True, exist_ok=True)
    if kind == "preset":
        _measure_preset(home, options.data, options.seed)
    elif kind == "both":
        _measure_both(home, options.data, options.seed, sizes[-1], options.model)
    else:
        _measure_growth(home, options.data, options.seed, sizes)
    if options.measurement == "chained":
        _measure_chained(home, sizes[-1])


def _measure_preset(home: Home, data: Path, seed: int) -> None:
    settings = _settings(home, data, seed, _problems(data, 600), (*MATHS, *_PREFIXES))
    passages = str(data_file(data, "wiki_passages"))
    for path, tool in ((str(data_file(data, "web_docs")), "Calendar"), (passages, "WikiSearch")):
        source = {"path": path, "limit": 600, "shard_size": 100, "tools": [tool]}
        settings["corpus"]["sources"].append(source)
    settings["wikipedia_index"] = {"source": passages}
    settings["evaluation"]["benchmarks"] = ["perplexity", "dateset", *MATHS, *_PREFIXES, _STEPS]
    _write_settings(home, settings)
    run_command(home.root, "recipe", "small")
    _write_figures(home, "figures.json")


def _measure_growth(home: Home, data: Path, seed: int, sizes: list[int]) -> None:
    """Annotate the first 150 problems in round 1, then the first `size` in round 2 per size."""
    # Every eighth shard is held out.
    problems = _problems(data, sizes[-1] * 8 // 7 + 2 * _SHARD)
    settings = _settings(home, data, seed, problems, MATHS)
    settings["tools"] = {name: {"is_enabled": False} for name in ("Calendar", "WikiSearch")}
    # The cap is there for the balance of several tools.
    settings["training"] |= {"max_texts_per_tool": 25_000}
    first, second = PRESETS["small"]["rounds"]
    settings["rounds"] = [
        {**first, "sampling": {**first["sampling"], "shards": min(sizes[0], 150) // _SHARD}},
        second,
        {
            **second,
            "sampling": {**second["sampling"], "is_chained": True},
            "training": {"rounds": [1, 2, 3]},
        },
    ]
    settings["evaluation"]["benchmarks"] = [*MATHS, _STEPS]
    _write_settings(home, settings)
    run_command(home.root, "build", "--rounds", "1")
    for size in sizes:
        model = home.root / "sizes" / f"problems-{size}"
        in_round = _in_round(2, size)
        if not model.exists():
            _annotate_and_train(home, f"{size}", in_round)
            shutil.copytree(home.finetuned_model(2), model.with_suffix(".part"))
            model.with_suffix(".part").rename(model)
        named = ("--set", f"evaluation.models.{model.name}={model}")
        run_command(home.root, "evaluate", "--models", model.name, *named, *in_round)
        _write_figures(home, f"figures-{size}.json")


def _in_round(number: int, size: int) -> tuple[str, ...]:
    return ("--set", f"sampling.round={number}", "--set", f"sampling.shards={size // _SHARD}")


def _annotate_and_train(home: Home, name: str, in_round: tuple[str, ...]) -> None:
    _run_counted(home, f"build {name}", "build", *in_round)
    _run_counted(home, f"train {name}", "train", *in_round)


def _run_counted(home: Home, name: str, *arguments: str) -> None:
    file = home.root / "processor-seconds.json"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run_command(home.root, *arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    seconds = json.loads(file.read_text("utf-8")) if file.exists() else {}
    seconds[name] = round(seconds.get(name, 0) + spent, 1)
    file.write_text(json.dumps(seconds, indent=1) + "\n", encoding="utf-8")


def _measure_chained(home: Home, size: int) -> None:
    """Annotate calls after the first call of each text in round 3, with the model of this size.

    The trained model is evaluated with at most one call and with at most three calls per answer.
    """
    # The current model of round 2 may belong to another size.
    _annotate_and_train(home, f"{size} before chaining", _in_round(2, size))
    in_round = _in_round(3, size)
    _annotate_and_train(home, f"chained {size}", in_round)
    for calls in (1, 3):
        model = home.root / "sizes" / f"chained-{size}-{calls}-calls"
        if not model.exists():
            shutil.copytree(home.finetuned_model(3), model)
        named = ("--set", f"evaluation.models.{model.name}={model}")
        max_calls = ("--set", f"decoding.max_calls={calls}")
        run_command(home.root, "evaluate", "--models", model.name, *named, *max_calls, *in_round)
    _write_figures(home, f"figures-chained-{size}.json")


def _measure_both(home: Home, data: Path, seed: int, size: int, model: Path | None) -> None:
    """Train one model on the facts of examples/facts and on `size` worked problems.

    In round 1 the tools propose calls for both; in round 2 the model annotates the problems again.
    """
    example = Path(__file__).parents[1] / "examples" / "facts"
    subprocess.run(
        [sys.executable, example / "facts.py", data_file(data, "lama_trex").parent, home.root],
        check=True,
    )
    facts = yaml.safe_load((example / "toolformer.yaml").read_text("utf-8"))
    tool, evaluation = facts["tools"]["Facts"], facts["evaluation"]
    settings = _settings(home, data, seed, _problems(data, size * 8 // 7), MATHS)
    if model:
        settings["language_model"] = {"path": str(model.resolve())}
    sentences = {"path": str(home.root / "sentences.jsonl"), "shard_size": 100, "tools": ["Facts"]}
    settings["corpus"]["sources"].append(sentences)
    settings["tools"] = {
        "Facts": tool,
        **{name: {"is_enabled": False} for name in ("Calendar", "WikiSearch")},
    }
    settings["training"] |= facts["training"]
    settings["rounds"] = [
        {**entry, "sampling": {**entry["sampling"], "shards": None}}
        for entry in PRESETS["small"]["rounds"]
    ]
    settings["evaluation"]["questions"] |= evaluation["questions"]
    settings["evaluation"] |= {
        "items": evaluation["items"],
        "benchmarks": [*evaluation["benchmarks"], *MATHS, _STEPS],
    }
    _write_settings(home, settings)
    in_round = ("--set", "sampling.round=2")
    run_command(home.root, "build", "--rounds", "2")
    run_command(home.root, "train", *in_round)
    run_command(home.root, "evaluate", "--models", "base,finetuned", *in_round)
    _write_figures(home, "figures.json")
    _measure_openings(home, 2)


def _measure_openings(home: Home, round_number: int = 1) -> None:
    trained = home.finetuned_model(round_number)
    chosen = read_min_call_probability(trained)
    if chosen is None or not chosen.min_call_probability_by_tool:
        raise SystemExit(
            f"{trained} has no minimum call probability per tool. Expected a model that was "
            "trained with several tools."
        )
    one_value = home.root / "sizes" / "one-value"
    if not one_value.exists():
        shutil.copytree(trained, one_value)
        same = replace(chosen, min_call_probability_by_tool={})
        file = one_value / MIN_CALL_PROBABILITY_FILE
        file.write_text(min_call_probability_text(same), encoding="utf-8")
    in_round = ("--set", f"sampling.round={round_number}")
    named = ("--set", f"evaluation.models.{one_value.name}={one_value}")
    run_command(home.root, "evaluate", "--models", f"finetuned,{one_value.name}", *named, *in_round)
    run_command(home.root, "openings", *in_round, module="benchmarks.studies")
    _write_figures(home, "figures-openings.json", chosen=chosen.summary)


def data_file(data: Path, prefix: str) -> Path:
    """Return the JSON file with this name prefix that is nearest to the folder."""
    found = sorted(data.rglob(f"{prefix}*.json*"), key=lambda file: (len(file.parts), file))
    if not found:
        raise SystemExit(f"There is no file {prefix}*.json* below {data}. Pass another --data.")
    if len(found) > 1 and len(found[0].parts) == len(found[1].parts):
        raise SystemExit(f"{found[0]} and {found[1]} both match. Pass another --data.")
    return found[0]


def _problems(data: Path, limit: int) -> dict[str, Any]:
    return {
        "path": str(data_file(data, "worked_problems")),
        "text_column": "solution",
        "context_column": "question",
        "limit": limit,
        "shard_size": _SHARD,
        "tools": ["Calculator"],
    }


def _settings(
    home: Home, data: Path, seed: int, problems: dict[str, Any], benchmarks: tuple[str, ...]
) -> dict[str, Any]:
    questions = home.root / "worked_steps.jsonl"
    _write_problems_in_steps(data_file(data, "worked_problems"), questions)
    files = {name: str(data_file(data, _PREFIXES.get(name, name))) for name in benchmarks}
    in_steps = {
        "path": str(questions),
        "prompt": "{question}\n",
        "scoring": "last-number",
        "max_new_tokens": 120,
    }
    return {
        "preset": "small",
        "corpus": {"sources": [problems]},
        "sampling": {"seed": seed},
        "training": {"seed": seed},
        "evaluation": {"files": files, "questions": {_STEPS: in_steps}},
    }


def _write_problems_in_steps(source: Path, file: Path) -> None:
    """Write held-out problems with more than one step; the answer is the solution's last number."""
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        problems = [json.loads(line) for line in lines][-_HELD_OUT_PROBLEMS:]
    rows = []
    for problem in problems:
        answer = re.search(r"The answer is (-?[\d.,]*\d)\.?$", problem["text"])
        if answer and problem["solution"].count("=") > 1:
            rows.append(
                {"id": problem["id"], "question": problem["question"], "answers": answer[1]}
            )
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def _write_settings(home: Home, settings: dict[str, Any]) -> None:
    if not home.settings_file.exists():
        # JSON is valid YAML, and unlike a YAML dump it has no aliases for repeated values.
        text = json.dumps(settings, indent=1, ensure_ascii=False)
        home.settings_file.write_text(f"{text}\n", encoding="utf-8")


def _write_figures(home: Home, name: str, **more: object) -> None:
    figures: dict[str, Any] = {
        **more,
        "machine": machine(),
        "versions": versions(),
        "measured_at": time.strftime("%Y-%m-%d"),
    }
    for key, statement in _STATEMENTS.items():
        figures[key] = Warehouse(home.warehouse, home.database).query(statement).to_dicts()
    spent = home.root / "processor-seconds.json"
    if spent.exists():
        figures["processor_seconds"] = json.loads(spent.read_text("utf-8"))
    models = sorted({row["model"] for row in figures["scores"] if row["benchmark"] == "perplexity"})
    if plain := [model for model in models if model.startswith("plain")]:
        store = open_warehouse(home)
        by_source = Path(__file__).with_name("perplexity_by_source.sql").read_text("utf-8")
        perplexity = store.query(by_source, {"models": models, "plain": plain[0]})
        figures["perplexity"] = perplexity.to_dicts()
    text = json.dumps(figures, indent=1, default=str)
    (home.root / name).write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
