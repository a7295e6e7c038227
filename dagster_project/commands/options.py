"""What the flags of a command change for one run, and what all commands share.

Does not parse the command line.
"""

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from assets.shard_stage import EXPECTED_ERRORS, explained
from dagster_project.commands import console
from dagster_project.home import Home
from dagster_project.runs.run_job import RunFailedError, RunInterruptedError
from dagster_project.settings.sections import Settings, SettingsError, merged
from dagster_project.settings.settings_file import load_settings, write_settings_file

COMMAND_ERRORS = (*EXPECTED_ERRORS, RunFailedError)
# What Ctrl-C raises, outside of Dagster's steps and within.
_INTERRUPTS = (KeyboardInterrupt, dg.DagsterExecutionInterruptedError)
_SECONDS_TO_AGAIN = 0.05
INTERRUPTED = 130
"""Exit code of a command that was told to stop, as shells have it."""


@contextmanager
def errors_told(*others: type[Exception]) -> Iterator[None]:
    """An expected error is one paragraph and exit code 1; an interrupt says what becomes of it.

    Args:
        others: Expected errors of this command alone.
    """
    try:
        with _no_interrupt_lost():
            yield
    except (*COMMAND_ERRORS, *others) as error:
        console.error(explained(error))
        sys.exit(1)
    except (RunInterruptedError, *_INTERRUPTS):
        console.error(
            "Interrupted. What was finished is kept, and the same command goes on from there."
        )
        sys.stdout.flush()
        # At once: a thread that is inside the model aborts an interpreter that ends.
        os._exit(INTERRUPTED)


@contextmanager
def _no_interrupt_lost() -> Iterator[None]:
    """An interrupt that comes where Python has to ignore errors is raised again a moment later.

    Python calls back while it frees objects and after imports, and no error leaves such a call.
    """
    told = sys.unraisablehook

    def again(ignored: "sys.UnraisableHookArgs") -> None:
        if not issubclass(ignored.exc_type, _INTERRUPTS):
            return told(ignored)
        # Not at once: from here, too, no error leaves.
        main = threading.main_thread().ident
        timer = threading.Timer(_SECONDS_TO_AGAIN, signal.pthread_kill, (main, signal.SIGINT))
        timer.daemon = True
        return timer.start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = told


@dataclass(frozen=True)
class RunOptions:
    """What the flags of a command change for one run.

    Attributes:
        preset: instead of the one in toolformer.yaml.
        overrides: settings that win over toolformer.yaml.
        force: compute also what is up to date.
        tools: only these tools.
    """

    preset: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    force: bool = False
    tools: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        preset: str | None,
        changes: Sequence[str] | None,
        *,
        force: bool = False,
        tools: Sequence[str] = (),
        variant: str | None = None,
    ) -> "RunOptions":
        """From the command line's flags.

        Raises:
            SettingsError: a change is not of the form NAME=VALUE.
        """
        overrides: dict[str, Any] = {}
        for change in changes or ():
            name, separator, value = change.partition("=")
            if not separator or not name:
                raise SettingsError(
                    f"--set {change!r} is not of the form NAME=VALUE. Expected for example "
                    "--set tools.Calendar.filtering_threshold=0.5."
                )
            try:
                nested: Any = YAML(typ="safe").load(io.StringIO(value))
            except (YAMLError, RecursionError) as error:
                raise SettingsError(
                    f"The value in --set {change} is not valid YAML. Expected a number, a text or "
                    "a list such as [a, b]; put quotes around a text with special characters."
                ) from error
            for part in reversed(name.split(".")):
                nested = {part: nested}
            overrides = merged(overrides, nested)
        if variant is not None:
            overrides = merged(overrides, {"training": {"variant": variant}})
        return cls(preset, overrides, force, tuple(tools))

    def load_settings(self, home: Home) -> Settings:
        """The settings of this run; the settings file is written at first use."""
        write_settings_file(home.settings_file, preset=self.preset or "laptop")
        return load_settings(home.settings_file, overrides=self.overrides, preset=self.preset)

    def resources(self) -> dict[str, dict[str, Any]]:
        """As configuration of the Dagster resources."""
        return {
            "settings": {
                "overrides": dict(self.overrides),
                "preset": self.preset or "",
                "force": self.force,
            },
            "toolbox": {"tools": list(self.tools)},
        }
