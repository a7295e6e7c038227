"""`toolformer recipe`: run all steps, from texts to a table of what the calls gain.

A recipe is a preset and a list of commands. Each command has its own process, so that its memory is
free for the next one. All numbers are in the preset.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from assets.corpus import configured_sources
from dagster_project.commands import console
from dagster_project.commands.stats import show_examples
from toolformer.home.home import Home
from toolformer.home.report.verdicts import verdicts_of
from toolformer.home.wiring.models import name_of_model
from toolformer.home.wiring.workspace import open_warehouse
from toolformer.settings.errors import SettingsError
from toolformer.settings.evaluation_sections import BASE, FACTS, FINETUNED, SUMS
from toolformer.settings.sections import Settings
from toolformer.settings.settings_file import load_settings, write_settings_file
from toolformer.settings.training_sections import PLAIN, SHUFFLED
from toolformer.sources.files import list_files
from toolformer.sources.manifest import manifest_path

DEMO = "demo"
RecipeName = Literal["demo", "small"]
_REPORT = ("report",)
_CONTROLS = (PLAIN, SHUFFLED)
# Duration of the demo's later commands relative to its annotation. The ratios were similar on all
# measured machines.
_TIMES_ANNOTATION = {"train": 1.3, "evaluate": 0.5, "report": 0.07}
_DEMO_TAKES = "This takes about 10 minutes on two cores with AVX2, and less with AVX-512."
# What the built-in benchmarks ask.
_ASKED = {
    SUMS: "sums in sentences outside the training texts",
    FACTS: "questions about people who appear in none of the texts",
}
_NEXT = """\
  make ui                                             the same pipeline in Dagster
  toolformer complete "A box has 36 eggs, so 45 boxes have 36 * 45 ="
  toolformer complete "Konrad Vale was born in the town of"
  toolformer serve                                    a web page and an OpenAI-style API
  toolformer sql "select * from kept_examples"        all kept calls
  toolformer ingest FILE …                            your own texts (in another home)"""

app = typer.Typer()


@app.command()
def recipe(name: Annotated[RecipeName, typer.Argument(help="Name of the recipe.")]) -> None:
    """Run build, train, evaluate and report one after the other."""
    # Every command skips work that is up to date, so a killed recipe continues where it stopped.
    began = time.monotonic()
    home = Home.find()
    if name == DEMO:
        write_settings_file(home.settings_file, preset=name)
    settings = load_settings(home.settings_file)
    if settings.preset != name or not settings.corpus.sources:
        new = "an empty folder" if name == DEMO else "a home with examples/small/toolformer.yaml"
        raise SettingsError(
            f"{home.settings_file} is not set up for this recipe: its preset is "
            f"{settings.preset!r}, and it lists {len(settings.corpus.sources)} sources. Expected "
            f"preset {name!r} and at least one source. Run `toolformer recipe {name}` with "
            f"TOOLFORMER_HOME set to {new}."
        )
    _check_files(home, settings)
    if name == DEMO:
        console.say(_DEMO_TAKES)
    spent = []
    steps = _steps(settings)
    for number, step in enumerate(steps):
        step_began = time.monotonic()
        left = ""
        if name == DEMO and number:
            left = f", about {_seconds_left(home, steps[number:]):.0f} s left"
        command = " ".join(step)
        console.heading(f"$ toolformer {command}    step {number + 1} of {len(steps)}{left}")
        # Show only the report's tables. `toolformer stats` and `evaluate` print the other tables.
        if code := run_command(*step, is_shown=step == _REPORT):
            console.error("This step failed. Run the same command again to continue from here.")
            sys.exit(code)
        seconds = time.monotonic() - step_began
        spent.append(f"{' '.join(step)} {seconds:.0f} s")
    last_round = {"sampling": {"round": max(1, len(settings.rounds))}}
    _show_gains(home, load_settings(home.settings_file, overrides=last_round))
    console.heading(
        f"Done in {time.monotonic() - began:.0f} s ({', '.join(spent)}). Everything is in "
        f"{home.root}. Next:"
    )
    console.say(_NEXT)


def _seconds_left(home: Home, steps: Sequence[Sequence[str]]) -> float:
    """Estimate the duration of these commands of the demo from that of its annotation."""
    annotation = float(open_warehouse(home).view("stage_costs")["seconds"].sum())
    return annotation * sum(_TIMES_ANNOTATION[command] for command, *_ in steps)


def _check_files(home: Home, settings: Settings) -> None:
    """Raise if a source or a benchmark file is missing, before hours of work."""
    if not manifest_path(home.sources).exists():
        for source in configured_sources(settings, home):
            list_files(source)
    missing = {
        name: path for name, path in settings.evaluation.files.items() if not Path(path).exists()
    }
    if missing:
        raise SettingsError(
            f"{home.settings_file} names benchmark files that do not exist: "
            f"{', '.join(missing.values())}. Correct the paths, or remove {', '.join(missing)} "
            "from evaluation.files and evaluation.benchmarks."
        )


def run_command(*arguments: str, is_shown: bool) -> int:
    """Run `toolformer` in its own process and return the exit code.

    Progress and errors are always printed, tables only if `is_shown`.
    """
    flags = ("-q",) if console.is_quiet() else ()
    command = [sys.executable, "-m", "dagster_project.cli", *flags, *arguments]
    output = None if is_shown else subprocess.DEVNULL
    return subprocess.run(command, stdout=output, check=False).returncode


def _steps(settings: Settings) -> list[Sequence[str]]:
    if not settings.rounds:
        return [("build",), ("train",), ("evaluate",), _REPORT]
    last = len(settings.rounds)
    in_last = ("--set", f"sampling.round={last}")
    return [
        ("build", "--rounds", str(last)),
        *(("train", "--variant", control, *in_last) for control in _CONTROLS),
        ("evaluate", "--models", ",".join((BASE, FINETUNED, *_CONTROLS)), *in_last),
        _REPORT,
    ]


def _show_gains(home: Home, settings: Settings) -> None:
    store = open_warehouse(home)
    show_examples(store, verdicts_of(store))
    model, plain, shuffled = (name_of_model(key, settings) for key in (FINETUNED, *_CONTROLS))
    gains = store.ask("gains_over_controls", model=model, plain=plain, shuffled=shuffled)
    console.heading("What the calls gain, in percentage points")
    console.frame(gains)
    console.say("Differences are paired; low and high are the 95 % interval.")
    if settings.rounds:
        console.say(
            "`plain` was trained on the same texts without calls, `shuffled` on the same calls "
            "with swapped results."
        )
    for row in gains.iter_rows(named=True):
        if row["benchmark"] not in _ASKED or row["against"] in (plain, shuffled):
            continue
        right, before = (
            round(row["items"] * row[name] / 100) for name in ("score", "score_of_other")
        )
        console.say(
            f"On {row['items']} {_ASKED[row['benchmark']]}, the finetuned model gets {before} "
            f"right without calls and {right} with calls (p = {row['p_value']:.1g}, McNemar's "
            "exact test)."
        )
