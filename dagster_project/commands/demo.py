"""`make demo`: the whole pipeline on the embedded model and texts, in minutes.

Each step is a command that a user would type, run in a process of its own so that memory is given
back between them.
"""

import subprocess
import sys
import time
from functools import partial

from dagster_project.commands import console
from dagster_project.commands.errors import errors_told
from dagster_project.commands.reporting import make_report, show_examples
from dagster_project.commands.steps import Step, run_steps
from dagster_project.home import Home
from dagster_project.report.verdicts import verdicts_of
from dagster_project.settings.errors import SettingsError
from dagster_project.settings.evaluation_sections import BASE, FINETUNED, PERPLEXITY, SUMS
from dagster_project.settings.sections import Settings
from dagster_project.settings.settings_file import load_settings, write_settings_file
from dagster_project.wiring.warehouse import open_warehouse
from toolformer.evaluation.modes import DISABLED, ENABLED
from warehouse.warehouse import Warehouse

PRESET = "demo"


def main() -> None:
    """Run the demo; an expected error is one paragraph and exit code 1."""
    began = time.monotonic()
    with errors_told():
        home = Home.find()
        _introduce(home, _settings(home))
        commands = ("build", "train", "evaluate")
        run_steps(
            [
                *(Step(f"$ toolformer {command}", partial(_run, command)) for command in commands),
                Step("Kept calls against chance", partial(make_report, None)),
                Step("What the model gains", partial(_show_gains, home)),
            ]
        )
    console.heading(
        f"Done in {time.monotonic() - began:.0f} s. Everything is in {home.root}. Next:"
    )
    console.say(
        "  make ui                                             the same in Dagster\n"
        '  toolformer complete "A box has 36 eggs, so 45 boxes have 36 * 45 ="\n'
        "  toolformer serve                                    a page, and OpenAI's API\n"
        '  toolformer sql "select * from kept_examples"        all kept calls\n'
        "  toolformer ingest FILE …                            your own texts (in another home)"
    )


def _settings(home: Home) -> Settings:
    write_settings_file(home.settings_file, preset=PRESET)
    settings = load_settings(home.settings_file)
    if settings.preset != PRESET:
        raise SettingsError(
            f"The home {str(home.root)!r} is set up with the preset {settings.preset!r}, and the "
            "demo would replace what was built there. Set TOOLFORMER_HOME to an empty folder for "
            "the demo."
        )
    return settings


def _introduce(home: Home, settings: Settings) -> None:
    (source,) = settings.corpus.sources
    console.heading("Toolformer: a language model teaches itself to use tools")
    console.say(
        f"{source.limit} short texts that come with the project, a model of 135 million "
        f"parameters, three tools. Settings: {home.settings_file} (preset {PRESET!r})."
    )


def _run(command: str) -> None:
    """Run a command; its progress and errors are shown, its tables are not."""
    done = subprocess.run(
        [sys.executable, "-m", "dagster_project.cli", command],
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        sys.exit(done.returncode)


def _show_gains(home: Home) -> None:
    store = open_warehouse(home)
    _show_gain(store)
    _show_perplexity(store)
    show_examples(store, verdicts_of(store), per_tool=3)


def _show_gain(store: Warehouse) -> None:
    """Sums that were never trained on, with and without calls, in one line."""
    (row,) = (
        store.view("evaluation_difference")
        .filter(
            benchmark=SUMS,
            model=FINETUNED,
            mode=ENABLED,
            other_model=FINETUNED,
            other_mode=DISABLED.name,
        )
        .iter_rows(named=True)
    )
    scores = store.view("evaluation_summary").filter(benchmark=SUMS, model=FINETUNED)
    right = {mode: round(score * row["items"]) for mode, score in scores["mode", "score"].rows()}
    console.say(
        f"Of {row['items']} sums in sentences that it was not trained on, the finetuned model gets "
        f"{right[DISABLED.name]} right without calls and {right[ENABLED]} with calls "
        f"(p = {row['p_value']:.1g}, McNemar's exact test)."
    )


def _show_perplexity(store: Warehouse) -> None:
    """Whether the model still reads texts without calls as well as its base."""
    summary = store.view("evaluation_summary").filter(benchmark=PERPLEXITY)
    scores = dict(summary.select("model", "score").iter_rows())
    base, finetuned = scores[BASE], scores[FINETUNED]
    console.say(
        f"Perplexity of held-out texts, calls disabled: {finetuned:.1f} of the finetuned model, "
        f"{base:.1f} of the base model ({100 * (finetuned / base - 1):+.1f} %)."
    )


if __name__ == "__main__":
    main()
