"""Turns errors and interrupts of a command into messages and exit codes."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dagster_project.commands import console
from toolformer.home.expected_errors import (
    EXPECTED_ERRORS,
    RunFailedError,
    RunInterruptedError,
    explain_out_of_memory,
    explained,
)

_COMMAND_ERRORS = (*EXPECTED_ERRORS, RunFailedError)
INTERRUPTED = 130
"""Exit code of an interrupted command, as in shells."""


@contextmanager
def explained_errors() -> Iterator[None]:
    """Exit with one paragraph instead of a traceback after an expected error or an interrupt."""
    try:
        with explain_out_of_memory():
            yield
    except _COMMAND_ERRORS as error:
        console.error(explained(error))
        sys.exit(1)
    except BaseException as error:
        if not isinstance(error, (RunInterruptedError, *_interrupts())):
            raise
        console.error("Interrupted. Finished work is kept. Run the same command again to continue.")
        sys.stdout.flush()
        # Exit at once: a thread inside the model would abort an interpreter that shuts down.
        os._exit(INTERRUPTED)


def _interrupts() -> tuple[type[BaseException], ...]:
    # An interrupt may arrive while `dagster` is only partly imported.
    dagster_error = getattr(sys.modules.get("dagster"), "DagsterExecutionInterruptedError", None)
    return (KeyboardInterrupt,) if dagster_error is None else (KeyboardInterrupt, dagster_error)
