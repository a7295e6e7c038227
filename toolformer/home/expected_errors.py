"""Errors that users can cause or fix. Must not import Dagster: some commands run without it."""

import errno
from contextlib import AbstractContextManager

from toolformer.base.loading import out_of_memory_as
from toolformer.errors import OutOfMemoryError, ToolformerError
from toolformer.settings.errors import SettingsError
from tools.errors import ToolError
from warehouse.errors import WarehouseError

# Errors caused by the input, the set-up or the machine. Commands print their messages without a
# traceback, and runs record them per shard. Any other exception is a bug and keeps its traceback.
EXPECTED_ERRORS = (ToolformerError, ToolError, WarehouseError, SettingsError, OSError)


class RunFailedError(RuntimeError):
    """A failed run; the message repeats the messages of its stages."""


class RunInterruptedError(Exception):
    """A run that was interrupted, for example by Ctrl-C. Finished stages are stored."""


def explain_out_of_memory() -> AbstractContextManager[None]:
    """Raise `OutOfMemoryError` for memory errors that no inner handler has explained."""
    return out_of_memory_as(
        OutOfMemoryError,
        "The machine or its GPU ran out of memory. Results computed so far are kept. "
        "Use a smaller model or a device with more memory, stop other programs on it, or lower "
        "corpus.window_tokens, scoring.token_budget and training.micro_batch_tokens; `toolformer "
        "doctor` shows how much memory there is.",
    )


def explained(error: Exception) -> str:
    """Return the error's message, or for a full disk a message that says what to do."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        context = f" while writing {error.filename}" if error.filename else ""
        return (
            f"The disk is full{context}: it has no space (`df -h`) or no inodes left (`df -i`). "
            "Results computed so far are kept. Free some space, or move TOOLFORMER_HOME (or "
            "TOOLFORMER_CACHE) to a larger disk, and run the same command again."
        )
    return str(error)
