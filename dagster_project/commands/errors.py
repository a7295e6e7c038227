"""Messages for errors and interrupts of a command."""

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
"""Exit code of a command that was told to stop, as shells have it."""


@contextmanager
def explained_errors() -> Iterator[None]:
    """An expected error is one paragraph and exit code 1; an interrupt says what becomes of it."""
    try:
        with explain_out_of_memory():
            yield
    except _COMMAND_ERRORS as error:
        console.error(explained(error))
        sys.exit(1)
    except BaseException as error:
        if not isinstance(error, (RunInterruptedError, *_interrupts())):
            raise
        console.error(
            "Interrupted. What was finished is kept, and the same command goes on from there."
        )
        sys.stdout.flush()
        # At once: a thread that is inside the model aborts an interpreter that ends.
        os._exit(INTERRUPTED)


def _interrupts() -> tuple[type[BaseException], ...]:
    """Return the exceptions that Ctrl-C raises, Dagster's own included if it is loaded."""
    # It may be loaded in part, when the interrupt comes at that moment.
    dagster_error = getattr(sys.modules.get("dagster"), "DagsterExecutionInterruptedError", None)
    return (KeyboardInterrupt,) if dagster_error is None else (KeyboardInterrupt, dagster_error)
