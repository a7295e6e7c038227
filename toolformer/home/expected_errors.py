"""Errors that are no bugs, and their messages.

Imported without Dagster, which commands that only read do not load.
"""

import errno
from contextlib import AbstractContextManager

from toolformer.base.loading import out_of_memory_as
from toolformer.errors import OutOfMemoryError, ToolformerError
from toolformer.settings.errors import SettingsError
from tools.errors import ToolError
from warehouse.errors import WarehouseError

# What is wrong with input, set-up or machine: told in a paragraph and recorded per shard. Anything
# else is a bug, and shows as one.
EXPECTED_ERRORS = (ToolformerError, ToolError, WarehouseError, SettingsError, OSError)


class RunFailedError(RuntimeError):
    """A run failed; the message is what its stages said."""


class RunInterruptedError(Exception):
    """A run was interrupted, by Ctrl-C say; what its stages had finished is stored."""


def explain_out_of_memory() -> AbstractContextManager[None]:
    """Where nobody nearer to it says what to do when memory runs out."""
    return out_of_memory_as(
        OutOfMemoryError,
        "The memory of the machine, or of its graphics device, ran out. What was computed is kept. "
        "Take a smaller model or a device with more memory, end what else uses it, or lower "
        "corpus.window_tokens, scoring.token_budget and training.micro_batch_tokens; `toolformer "
        "doctor` says how much there is.",
    )


def explained(error: Exception) -> str:
    """The error's own words; for a full disk, which any write can meet, with the remedy."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        context = f" while writing {error.filename}" if error.filename else ""
        return (
            f"The disk is full{context}, of bytes (`df -h`) or of files (`df -i`). What was "
            "computed is kept. Free some space, or move TOOLFORMER_HOME (or TOOLFORMER_CACHE) to "
            "a larger disk, and run the same again."
        )
    return str(error)
