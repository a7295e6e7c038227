"""A command that consists of steps: each has a heading, and an error names the step."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from dagster_project.commands import console
from dagster_project.expected_errors import RunFailedError
from toolformer.errors import ToolformerError


class Step(NamedTuple):
    """Part of a command.

    Attributes:
        title: its heading.
        run: what it does.
        hint: what to do when it fails.
    """

    title: str
    run: Callable[[], None]
    hint: str = "The same command goes on from here."


def run_steps(steps: Iterable[Step]) -> None:
    """Run steps in turn, up to the first that fails.

    Raises:
        RunFailedError: a step failed; it is named. Earlier steps stay.
    """
    for step in steps:
        console.heading(step.title)
        try:
            step.run()
        except (RunFailedError, ToolformerError) as error:
            raise RunFailedError(f"{step.title}: {error}\n{step.hint}") from error
