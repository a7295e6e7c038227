"""`toolformer rounds`: the rounds that toolformer.yaml lists, each built and trained in turn."""

from functools import partial

import polars as pl

from assets.run import Workspace
from assets.training.call_threshold import is_calibrated
from assets.training.finetuned_model import is_finetuned, record_of
from dagster_project.commands import console
from dagster_project.commands.building import build_dataset
from dagster_project.commands.options import RunOptions
from dagster_project.commands.planning import show_plan
from dagster_project.commands.steps import Step, run_steps
from dagster_project.commands.training import train_model
from dagster_project.home import Home
from dagster_project.settings.errors import SettingsError
from dagster_project.settings.sections import FINETUNED, Settings
from dagster_project.settings.settings_file import load_settings
from dagster_project.wiring.annotator import finetuned_model_directory
from dagster_project.wiring.warehouse import open_warehouse
from toolformer.training.variants import CALLS


def run_rounds(*, until: int | None, dry_run: bool) -> None:
    """Build and train round after round, and print what came of each.

    What is up to date is not done again, so a command that was killed goes on where it was.

    Args:
        until: the last round; by default the last that is listed.
        dry_run: only say what would be done, as far as it can be told.

    Raises:
        SettingsError: the settings of a round are not valid, or it is not listed.
        RunFailedError: a round failed, or keeps too few calls to train on. Earlier rounds stay.
    """
    home = Home.find()
    rounds = _settings_of_rounds(home, until)
    if dry_run:
        _show_plans(home, rounds)
        return
    steps = [
        Step(
            f"Round {number} of {len(rounds)}",
            partial(_run_round, number, settings, home),
            f"Commands for this round alone need `--set sampling.round={number}`. "
            "`toolformer rounds` goes on from here.",
        )
        for number, settings in rounds.items()
    ]
    run_steps([*steps, Step("Rounds", partial(_show_results, home, rounds))])


def _run_round(number: int, settings: Settings, home: Home) -> None:
    options = options_of_round(number)
    build_dataset(options, shards=(), dry_run=False)
    train_if_needed(options, settings, home)


def options_of_round(number: int, variant: str = CALLS) -> RunOptions:
    """What a run of a round changes; whichever variant the file names.

    By default that of the calls, whose model annotates the next round.
    """
    return RunOptions(overrides={"sampling": {"round": number}, "training": {"variant": variant}})


def train_if_needed(options: RunOptions, settings: Settings, home: Home) -> None:
    """Train and calibrate a model, unless both are done.

    Args:
        options: of the run.
        settings: with these options.
        home: has the model.

    Raises:
        RunFailedError: the training failed, or there are too few texts.
    """
    if _work_on_model(settings, home) is None:
        console.say(f"Its model is up to date: {finetuned_model_directory(settings, home)}")
    else:
        train_model(options)


def _work_on_model(settings: Settings, home: Home) -> str | None:
    """What is still to be done to the model that the settings describe; None for nothing."""
    if not is_finetuned(Workspace(settings, home)):
        return "trained"
    is_done = is_calibrated(finetuned_model_directory(settings, home))
    return None if is_done else "calibrated"


def _settings_of_rounds(home: Home, until: int | None) -> dict[int, Settings]:
    """The settings of each round up to the last one; a file without `rounds` has one."""
    listed = max(1, len(load_settings(home.settings_file).rounds))
    last = until or listed
    if last > listed:
        raise SettingsError(
            f"--until {last} is beyond round {listed}, the last in {home.settings_file}. Add an "
            "entry to `rounds` there for each round; {} changes nothing but who annotates."
        )
    rounds = {}
    for number in range(1, last + 1):
        options = options_of_round(number)
        settings = load_settings(home.settings_file, overrides=options.overrides)
        if settings.training_rounds[0] != number:
            raise SettingsError(
                f"{home.settings_file}, round {number}: training.rounds is "
                f"{list(settings.training_rounds)}, so no model of round {number} would be "
                f"trained. Expected {number} and none that is later; set it in the entry of the "
                "round, or remove it."
            )
        rounds[number] = settings
    return rounds


def _show_plans(home: Home, rounds: dict[int, Settings]) -> None:
    is_trained = False
    for number, settings in rounds.items():
        console.heading(f"Round {number} of {len(rounds)}")
        if settings.sampling.annotator == FINETUNED and not is_trained:
            console.say(
                f"The model of round {number - 1} annotates it. What is to be done is known once "
                "that is trained."
            )
        elif show_plan(options_of_round(number), home, ()):
            is_trained = False
            console.say("Then its model would be trained on what is kept.")
        else:
            work = _work_on_model(settings, home)
            is_trained = work != "trained"
            console.say(f"Its model would be {work}." if work else "Its model is up to date.")


def _show_results(home: Home, rounds: dict[int, Settings]) -> None:
    trained = []
    for number, settings in rounds.items():
        record = record_of(finetuned_model_directory(settings, home))
        trained.append(
            {
                "round": number,
                "texts_trained_on": record["rows"],
                "perplexity_before": record["result"]["base_perplexity"],
                "perplexity_after": record["result"]["best_perplexity"],
            }
        )
    calls = open_warehouse(home).ask("calls_by_round", until=len(rounds))
    rows = calls.join(pl.DataFrame(trained), on="round", how="left", maintain_order="left")
    console.frame(rows.rename(lambda name: name.replace("_", " ")))
    console.say(
        "Perplexity: of the development texts without calls, before and after training. Chance "
        "share: of calls with the results of others."
    )
