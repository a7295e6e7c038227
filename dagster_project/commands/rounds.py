"""`toolformer build --rounds N`: rounds of annotation, each built and trained in turn."""

from collections.abc import Sequence

from assets.training.finetuned_model import is_finetuned
from assets.training.min_call_probability import is_calibrated
from dagster_project.commands import console
from dagster_project.commands.building import build_dataset
from dagster_project.commands.options import RunOptions
from dagster_project.commands.planning import show_plan
from dagster_project.commands.training import train_model
from toolformer.errors import ToolformerError
from toolformer.home.expected_errors import RunFailedError
from toolformer.home.home import Home
from toolformer.home.wiring.models import finetuned_model_directory
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.errors import SettingsError
from toolformer.settings.evaluation_sections import FINETUNED
from toolformer.settings.sections import Settings
from toolformer.settings.settings_file import load_settings, settings_of_rounds


def run_rounds(options: RunOptions, *, until: int, dry_run: bool) -> None:
    """Build and train round after round.

    What is up to date is not done again, so a command that was killed goes on where it was.

    Raises:
        SettingsError: the settings of a round are not valid, or it is not listed.
        RunFailedError: a round failed, or keeps too few calls to train on. Earlier rounds stay.
    """
    home = Home.find()
    rounds = _rounds_until(options, home, until)
    if dry_run:
        _show_plans(options, home, rounds)
        return
    for number, settings in enumerate(rounds, start=1):
        console.heading(f"Round {number} of {until}")
        in_round = options.in_round(number)
        try:
            build_dataset(in_round, shards=(), dry_run=False)
            is_last = number == until
            work = Workspace(settings, home)
            if _is_done(work, is_last=is_last) and not options.force:
                console.say(f"Its model is up to date: {finetuned_model_directory(work)}")
            else:
                train_model(in_round, is_calibrated=is_last)
        except (RunFailedError, ToolformerError) as error:
            raise RunFailedError(
                f"Round {number} of {until}: {error}\nCommands for this round alone need `--set "
                f"sampling.round={number}`. The same command goes on from here."
            ) from error
    console.say("All rounds are built. `toolformer stats` shows what each of them keeps.")


def _is_done(work: Workspace, *, is_last: bool) -> bool:
    """Whether training would do nothing; it is not asked, since it makes its texts first.

    The model of an earlier round annotates, for which it needs no calibration.
    """
    if not is_finetuned(work):
        return False
    return not is_last or is_calibrated(finetuned_model_directory(work), work.settings)


def _rounds_until(options: RunOptions, home: Home, until: int) -> list[Settings]:
    """The settings of each round up to the last one, each of which trains a model of its own."""
    file = home.settings_file
    # Refuses a round that the options name and the file does not list. `RunOptions.load_settings`
    # would write the file, and a dry run writes nothing.
    load_settings(file, overrides=options.overrides)
    rounds = settings_of_rounds(file, overrides=options.in_round(1).overrides)
    if until > len(rounds):
        raise SettingsError(
            f"--rounds {until} is beyond round {len(rounds)}, the last in {file}. Add an entry to "
            "`rounds` there for each round; {} changes only the annotator."
        )
    for number, settings in enumerate(rounds[:until], start=1):
        if settings.training_rounds[0] != number:
            raise SettingsError(
                f"{file}, round {number}: training.rounds is {list(settings.training_rounds)}, so "
                f"no model of round {number} would be trained. Expected {number} and none that is "
                "later; set it in the entry of the round, or remove it."
            )
    return rounds[:until]


def _show_plans(options: RunOptions, home: Home, rounds: Sequence[Settings]) -> None:
    is_trained = True
    for number, settings in enumerate(rounds, start=1):
        console.heading(f"Round {number} of {len(rounds)}")
        if settings.sampling.annotator == FINETUNED and not is_trained:
            console.say(
                f"The model of round {number - 1} annotates it. Its plan is known once that model "
                "is trained."
            )
            continue
        does_anything = show_plan(options.in_round(number), home, ())
        # A model that only lacks its calibration annotates as it is.
        work = Workspace(settings, home)
        is_trained = not does_anything and is_finetuned(work)
        if not is_trained:
            console.say("Its model would be trained on the calls.")
        elif _is_done(work, is_last=number == len(rounds)):
            console.say("Its model is up to date.")
        else:
            console.say("Its model is up to date, and would be calibrated for calls to open.")
