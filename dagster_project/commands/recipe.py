"""`toolformer recipe small`: from texts to a table that says whether the tools help.

Rounds of annotation, the controls, and the evaluation, each by the command that a user would type.
The numbers stand in the preset of the recipe.
"""

import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from dagster_project.commands import console
from dagster_project.commands.evaluating import evaluate_models
from dagster_project.commands.reporting import make_report
from dagster_project.commands.rounds import options_of_round, run_rounds, train_if_needed
from dagster_project.commands.steps import Step, run_steps
from dagster_project.home import Home
from dagster_project.settings.errors import SettingsError
from dagster_project.settings.evaluation_sections import DATESET, PERPLEXITY
from dagster_project.settings.sections import BASE, FINETUNED, Settings
from dagster_project.settings.settings_file import load_settings
from dagster_project.settings.yaml_text import read_yaml
from dagster_project.wiring.evaluated_models import name_of_model
from dagster_project.wiring.warehouse import open_warehouse
from toolformer.ground.whole_files import write_whole
from toolformer.training.variants import PLAIN, SHUFFLED

_CONTROLS = (PLAIN, SHUFFLED)
_PASSAGES = "wiki_passages"
_HEADER = (
    "# What `toolformer recipe {preset}` works on. The preset has everything else, and what\n"
    "# stands here wins over it. Run the command without flags to go on with this file as it is.\n"
)


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
    """Annotate in rounds, train the model and its controls, measure all, and print the tables.

    What is up to date is not done again, so a command that was killed goes on where it was.

    Args:
        preset: the recipe's.
        texts: folder with the files of `_SOURCES`; None to go on with the home's settings.
        benchmarks: folder below which the files of the benchmarks lie; None for those that come
            with the project.
        seed: of sampling and training.

    Raises:
        SettingsError: a text file is missing, or the home has other settings.
        RunFailedError: a stage failed. What was finished stays.
    """
    home = Home.find()
    if texts is not None:
        _write_settings(home.settings_file, preset, texts, benchmarks, seed)
    last = _rounds_of(home, preset)
    run_rounds(until=None, dry_run=False)
    options = options_of_round(last)
    evaluate = partial(evaluate_models, options, benchmarks=())
    run_steps(
        [
            *(Step(f"Control: {name}", partial(_train, home, last, name)) for name in _CONTROLS),
            Step("Evaluation", partial(evaluate, models=(BASE, FINETUNED, *_CONTROLS))),
            Step(
                "What the calls gain, in percentage points",
                partial(_show, home, options.load_settings(home)),
            ),
            Step("Kept calls against chance", partial(make_report, None)),
        ]
    )


def _train(home: Home, last_round: int, variant: str) -> None:
    options = options_of_round(last_round, variant)
    train_if_needed(options, options.load_settings(home), home)


def _rounds_of(home: Home, preset: str) -> int:
    """How many rounds the settings of a home list.

    Raises:
        SettingsError: they list none, or no texts.
    """
    settings = load_settings(home.settings_file)
    if not settings.corpus.sources or not settings.rounds:
        raise SettingsError(
            f"{home.settings_file} lists {'no rounds' if settings.corpus.sources else 'no texts'}, "
            f"so there is nothing to do. Run `toolformer recipe {preset} --texts FOLDER` in an "
            f"empty home, or set `preset: {preset}` and corpus.sources there."
        )
    return len(settings.rounds)


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
        write_whole(file, _HEADER.format(preset=preset) + _yaml(values))
    elif read_yaml(file) != values:
        raise SettingsError(
            f"{file} has other settings than these flags give. Run `toolformer recipe {preset}` "
            "without flags to go on with the file, or set TOOLFORMER_HOME to an empty folder."
        )


def _text_file(folder: Path, name: str) -> Path:
    found = sorted(folder.expanduser().absolute().glob(f"{name}.*"))
    if len(found) != 1:
        needed = "; ".join(f"{each}: {source.columns}" for each, source in _SOURCES.items())
        raise SettingsError(
            f"{folder} has {len(found)} files {name}.*, expected one. The recipe reads three files "
            f"of JSON lines or Parquet, with these columns: {needed}."
        )
    return found[0]


def _evaluation(folder: Path | None) -> dict[str, Any]:
    files: dict[str, str] = {}
    if folder is not None:
        for name, beginning in _BENCHMARKS.items():
            found = sorted(folder.expanduser().absolute().rglob(f"{beginning}*.json*"))
            files |= {name: str(found[0])} if found else {}
        if not files:
            raise SettingsError(
                f"There is no file of a benchmark in {folder}. Expected names that begin with one "
                f"of {', '.join(_BENCHMARKS.values())}. Leave --benchmarks out for those that come "
                "with the project."
            )
    return {"benchmarks": [PERPLEXITY, DATESET, *files], "files": files}


def _yaml(values: Mapping[str, Any]) -> str:
    text = io.StringIO()
    writer = YAML(typ="safe")
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # pyright: ignore[reportAttributeAccessIssue]
    writer.dump(values, text)
    return text.getvalue()


def _show(home: Home, settings: Settings) -> None:
    store = open_warehouse(home)
    model, plain, shuffled = (name_of_model(key, settings) for key in (FINETUNED, *_CONTROLS))
    console.frame(store.ask("gains_over_controls", model=model, plain=plain, shuffled=shuffled))
    console.say(
        "`plain` was trained on the same texts without calls, `shuffled` with exchanged results. "
        "Differences are paired; low and high are the 95 % interval."
    )
    console.heading("Perplexity of texts that nothing was trained on, calls disabled")
    models = [BASE, plain, shuffled, model]
    console.frame(store.ask("perplexity_by_source", models=models, plain=plain))
    console.heading("Texts that were kept out of training")
    console.frame(store.view("training_exclusion_summary"))
