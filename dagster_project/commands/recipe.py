"""`toolformer recipe`: from texts to a table that says what the calls gain.

A recipe is a preset and a list of commands, each run in a process of its own so that memory is
given back between them. The numbers stand in the preset.
"""

import io
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from dagster_project.commands import console
from dagster_project.commands.reporting import show_examples
from toolformer.files.whole_files import write_whole
from toolformer.training.variants import PLAIN, SHUFFLED
from toolformer_home.home import Home
from toolformer_home.report.verdicts import verdicts_of
from toolformer_home.settings.errors import SettingsError
from toolformer_home.settings.evaluation_sections import (
    BASE,
    DATESET,
    FACTS,
    FINETUNED,
    PERPLEXITY,
    SUMS,
)
from toolformer_home.settings.sections import Settings
from toolformer_home.settings.settings_file import load_settings, write_settings_file
from toolformer_home.settings.yaml_text import read_yaml
from toolformer_home.wiring.evaluated_models import name_of_model
from toolformer_home.wiring.warehouse import open_warehouse

DEMO = "demo"
_REPORT = ("report",)
_CONTROLS = (PLAIN, SHUFFLED)
_PASSAGES = "wiki_passages"
# What is asked by the benchmarks that come with the project.
_ASKED = {
    SUMS: "sums in sentences that it was not trained on",
    FACTS: "facts about people that no text names",
}
_HEADER = (
    "# What `toolformer recipe {preset}` works on. The preset has everything else, and what\n"
    "# stands here wins over it. Run the command without flags to go on with this file as it is.\n"
)
_NEXT = """\
  make ui                                             the same in Dagster
  toolformer complete "A box has 36 eggs, so 45 boxes have 36 * 45 ="
  toolformer serve                                    a page, and OpenAI's API
  toolformer sql "select * from kept_examples"        all kept calls
  toolformer ingest FILE …                            your own texts (in another home)"""


class _Source(NamedTuple):
    """A file of the recipe's texts: its entry in corpus.sources, and the columns that it needs."""

    entry: Mapping[str, Any]
    columns: str


# Each for the tool that helps there: elsewhere its calls cost time and are kept by chance alone.
# Of the others larger shards, since fewer of their texts get calls that are kept.
_SOURCES = {
    "worked_problems": _Source(
        {
            "text_column": "solution",
            "context_column": "question",
            "limit": 600,
            "shard_size": 50,
            "tools": ["Calculator"],
        },
        "question, solution",
    ),
    "web_docs": _Source({"limit": 600, "shard_size": 100, "tools": ["Calendar"]}, "text, url"),
    _PASSAGES: _Source({"limit": 600, "shard_size": 100, "tools": ["WikiSearch"]}, "title, text"),
}
# How the files of the benchmarks begin.
_BENCHMARKS = {
    "asdiv": "asdiv",
    "svamp": "svamp",
    "mawps": "mawps",
    "lama-squad": "lama_squad",
    "lama-google-re": "lama_google_re",
    "lama-trex": "lama_trex",
    "webquestions": "webquestions",
    "nq": "nq_open",
    "triviaqa": "triviaqa",
}


def run_recipe(preset: str, *, texts: Path | None, benchmarks: Path | None, seed: int) -> None:
    """Run the commands of a recipe in turn, up to the first that fails, and say what came of it.

    What is up to date is not done again, so a recipe that was killed goes on where it was.

    Args:
        preset: the recipe's.
        texts: folder with the files of `_SOURCES`; None to go on with the home's settings.
        benchmarks: folder below which the files of the benchmarks lie; None for those that come
            with the project.
        seed: seed of sampling and training.

    Raises:
        SettingsError: a text file is missing, or the home has other settings.
        SystemExit: a command failed, and said why. What was finished stays.
    """
    began = time.monotonic()
    home = Home.find()
    if texts is not None:
        _write_settings(home.settings_file, preset, texts, benchmarks, seed)
    elif preset == DEMO:
        write_settings_file(home.settings_file, preset=preset)
    settings = load_settings(home.settings_file)
    if settings.preset != preset or not settings.corpus.sources:
        flags = "" if preset == DEMO else " --texts FOLDER"
        raise SettingsError(
            f"{home.settings_file} is not set up for this recipe: its preset is "
            f"{settings.preset!r}, and it lists {len(settings.corpus.sources)} sources. Expected "
            f"preset {preset!r} and sources of texts. Run `toolformer recipe {preset}{flags}` with "
            "TOOLFORMER_HOME set to an empty folder."
        )
    for step in _steps(settings):
        console.heading(f"$ toolformer {' '.join(step)}")
        # The others' tables are too many: `toolformer stats` and `evaluate` print them again.
        if code := run_command(*step, is_shown=step == _REPORT):
            console.error("This step failed. The same command goes on from here.")
            sys.exit(code)
    last_round = {"sampling": {"round": max(1, len(settings.rounds))}}
    _show_gains(home, load_settings(home.settings_file, overrides=last_round))
    console.heading(
        f"Done in {time.monotonic() - began:.0f} s. Everything is in {home.root}. Next:"
    )
    console.say(_NEXT)


def run_command(*arguments: str, is_shown: bool) -> int:
    """Run `toolformer` in a process of its own; its exit code.

    Progress and errors are shown in any case, its tables where `is_shown`.
    """
    flags = ("-q",) if console.is_quiet() else ()
    command = [sys.executable, "-m", "dagster_project.cli", *flags, *arguments]
    output = None if is_shown else subprocess.DEVNULL
    return subprocess.run(command, stdout=output, check=False).returncode


def _steps(settings: Settings) -> list[Sequence[str]]:
    """The commands of a recipe: one with rounds has controls, too."""
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


def _write_settings(
    file: Path, preset: str, texts: Path, benchmarks: Path | None, seed: int
) -> None:
    """Write the settings of the recipe where there are none.

    Raises:
        SettingsError: a text file is missing, or the home has other settings.
    """
    values = {
        "preset": preset,
        "corpus": {
            "sources": [
                {"path": str(_text_file(texts, name)), **source.entry}
                for name, source in _SOURCES.items()
            ]
        },
        "wikipedia_index": {"source": str(_text_file(texts, _PASSAGES))},
        "sampling": {"seed": seed},
        "training": {"seed": seed},
        "evaluation": _evaluation(benchmarks),
    }
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        text = io.StringIO()
        YAML().dump(values, text)
        write_whole(file, _HEADER.format(preset=preset) + text.getvalue())
    elif read_yaml(file) != values:
        raise SettingsError(
            f"{file} has other settings than these flags give. Run `toolformer recipe {preset}` "
            "without flags to go on with the file, or set TOOLFORMER_HOME to an empty folder."
        )


def _text_file(folder: Path, name: str) -> Path:
    files = sorted(folder.expanduser().absolute().glob(f"{name}.*"))
    if len(files) != 1:
        needed = "; ".join(f"{other}: {source.columns}" for other, source in _SOURCES.items())
        raise SettingsError(
            f"{folder} has {len(files)} files {name}.*, expected one. The recipe reads three files "
            f"of JSON lines or Parquet, with these columns: {needed}."
        )
    return files[0]


def _evaluation(folder: Path | None) -> dict[str, Any]:
    files: dict[str, str] = {}
    if folder is not None:
        for name, beginning in _BENCHMARKS.items():
            if file := nearest_file(folder.expanduser().absolute(), beginning):
                files[name] = str(file)
        if not files:
            raise SettingsError(
                f"There is no file of a benchmark in {folder}. Expected names that begin with one "
                f"of {', '.join(_BENCHMARKS.values())}. Leave --benchmarks out for those that come "
                "with the project."
            )
    return {"benchmarks": [PERPLEXITY, DATESET, *files], "files": files}


def nearest_file(folder: Path, beginning: str) -> Path | None:
    """The JSON file below a folder whose name begins so, the nearest to it; None without one.

    Raises:
        SettingsError: two are equally near.
    """
    found = sorted(folder.rglob(f"{beginning}*.json*"), key=lambda file: (len(file.parts), file))
    if len(found) > 1 and len(found[0].parts) == len(found[1].parts):
        raise SettingsError(
            f"Both {found[0]} and {found[1]} may be meant for {beginning}. Move one of them away, "
            "or name a folder with only one."
        )
    return found[0] if found else None


def _show_gains(home: Home, settings: Settings) -> None:
    """Print what calls gain, what they cost in perplexity, and which texts were kept out."""
    store = open_warehouse(home)
    show_examples(store, verdicts_of(store), per_tool=3)
    model, plain, shuffled = (name_of_model(key, settings) for key in (FINETUNED, *_CONTROLS))
    gains = store.ask("gains_over_controls", model=model, plain=plain, shuffled=shuffled)
    console.heading("What the calls gain, in percentage points")
    console.frame(gains)
    console.say("Differences are paired; low and high are the 95 % interval.")
    if settings.rounds:
        console.say(
            "`plain` was trained on the same texts without calls, `shuffled` with exchanged "
            "results."
        )
        console.heading("Texts that were kept out of training")
        console.frame(store.view("training_exclusion_summary"))
    console.heading("Perplexity of texts that nothing was trained on, calls disabled")
    models = [BASE, plain, shuffled, model]
    console.frame(store.ask("perplexity_by_source", models=models, plain=plain))
    for row in gains.iter_rows(named=True):
        if row["benchmark"] not in _ASKED:
            continue
        right, before = (
            round(row["items"] * row[name] / 100) for name in ("score", "score_of_other")
        )
        console.say(
            f"Of {row['items']} {_ASKED[row['benchmark']]}, the finetuned model gets {before} "
            f"right without calls and {right} with calls (p = {row['p_value']:.1g}, McNemar's "
            "exact test)."
        )
