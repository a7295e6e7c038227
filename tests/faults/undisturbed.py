"""The home that nothing happened to: after each command a copy, and what the command did."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.home import FaultyHome, Ingredients, commands, settings_of
from tests.faults.injection import Event, recorded, recording


class HarnessError(RuntimeError):
    """The harness itself does not work; nothing was tried."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One command from the home before it to the home after it."""

    name: str
    arguments: Sequence[str]
    before: FaultyHome
    after: FaultyHome
    events: list[Event]


@dataclass(frozen=True, slots=True)
class Workshop:
    """What all faults start from.

    Attributes:
        folder: for everything that is made.
        seed: of all choices.
        is_short: a few of each fault.
        ingredients: model and texts.
        stages: by command.
    """

    folder: Path
    seed: int
    is_short: bool
    ingredients: Ingredients
    stages: dict[str, Stage]

    @property
    def finished(self) -> FaultyHome:
        """The undisturbed home after all commands."""
        return self.stages["evaluate"].after

    def chance(self, name: str) -> random.Random:
        """A source of choices for one kind of fault, whatever else is run."""
        return random.Random(f"{self.seed} {name}")

    def place(self, name: str) -> Path:
        """A folder that is not there yet, for a home."""
        folder = self.folder / "homes" / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        return folder


def prepare(folder: Path, *, seed: int, is_short: bool) -> Workshop:
    """Make model and texts, and run the four commands undisturbed."""
    ingredients = Ingredients.make(folder / "ingredients", seed=seed)
    origin = FaultyHome(folder / "undisturbed" / "begun")
    origin.write_settings(settings_of(ingredients))
    stages: dict[str, Stage] = {}
    for name, arguments in commands(ingredients).items():
        stages[name] = observed(name, arguments, origin, folder)
        origin = stages[name].after
    _check_rows(origin)
    return Workshop(folder, seed, is_short, ingredients, stages)


def observed(name: str, arguments: Sequence[str], before: FaultyHome, folder: Path) -> Stage:
    """Run a command undisturbed in a copy of a home."""
    home = before.copy(folder / "undisturbed" / name)
    log = folder / f"{name}.events"
    done = home.run(*arguments, extra=recording(home.root, log))
    if done.code:
        raise HarnessError(f"`{name}` fails undisturbed:\n{done.output}")
    return Stage(name, arguments, before, home, recorded(log))


def _check_rows(home: FaultyHome) -> None:
    filled = (
        "candidate_calls",
        "executed_calls where status = 'executed'",
        "filtered_calls where is_kept and tool = 'Calculator'",
        "filtered_calls where is_kept and tool = 'Calendar'",
        "filtered_calls where precision = 'float32'",
        "filtered_calls where is_in_chance_sample",
        "augmented_texts",
        "training_texts where split = 'train'",
        "training_texts where split = 'development'",
        "training_metrics",
        "evaluation_results where benchmark = 'perplexity'",
        "evaluation_results where benchmark = 'dateset'",
    )
    for rows in filled:
        if home.warehouse.query(f"select count(*) from {rows}").item() == 0:
            raise HarnessError(f"the undisturbed home has no {rows}: the harness checks nothing")
