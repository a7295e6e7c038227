"""What a command prints when something goes wrong or it is interrupted.

Does not load Dagster.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dagster_project.commands import console
from dagster_project.expected_errors import (
    EXPECTED_ERRORS,
    RunFailedError,
    RunInterruptedError,
    explained,
)

COMMAND_ERRORS = (*EXPECTED_ERRORS, RunFailedError)
_SECONDS_TO_AGAIN = 0.05
INTERRUPTED = 130
"""Exit code of a command that was told to stop, as shells have it."""


@contextmanager
def errors_told() -> Iterator[None]:
    """An expected error is one paragraph and exit code 1; an interrupt says what becomes of it."""
    try:
        with _no_interrupt_lost():
            yield
    except COMMAND_ERRORS as error:
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


@contextmanager
def _no_interrupt_lost() -> Iterator[None]:
    """An interrupt that comes where Python has to ignore errors is raised again a moment later.

    Python calls back while it frees objects and after imports, and no error leaves such a call.
    """
    told = sys.unraisablehook

    def again(ignored: "sys.UnraisableHookArgs") -> None:
        if not issubclass(ignored.exc_type, _interrupts()):
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


def _interrupts() -> tuple[type[BaseException], ...]:
    """What Ctrl-C raises: outside of Dagster's steps, and within, where Dagster is loaded."""
    # It may be loaded in part, when the interrupt comes at that moment.
    of_dagster = getattr(sys.modules.get("dagster"), "DagsterExecutionInterruptedError", None)
    return (KeyboardInterrupt,) if of_dagster is None else (KeyboardInterrupt, of_dagster)
