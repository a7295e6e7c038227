"""What goes wrong while a model is loaded and used, as one error that says what to do."""

import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_MAX_CHARACTERS = 300
# What accelerate does not know: of CUDA itself, of its matrix products, and of files.
_SIGNS_OF_NO_MEMORY = (
    "error: out of memory",
    "cublas_status_alloc_failed",
    "cannot allocate memory",
)


def prepare_transformers() -> None:
    """Import transformers so that it fetches nothing from a hub behind the user's back."""
    # Read when it is imported.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers.utils import logging

    # A bar per load would stand between the lines of every command and run.
    logging.disable_progress_bar()


@contextmanager
def loading(what: str, refused: Callable[[str], Exception]) -> Iterator[None]:
    """Within the block only libraries run, on files that may be damaged or made by strangers.

    Args:
        refused: makes the error to raise from a sentence without its full stop.
    """
    try:
        yield
    # Transformers raises whatever a wrong value leads to, and tokenizers raises Exception itself:
    # no list of classes holds them all.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        message = textwrap.shorten(str(error), _MAX_CHARACTERS, placeholder=" …").rstrip(".")
        refusal = refused(f"{what} cannot be loaded ({type(error).__name__}: {message})")
        if isinstance(error, type(refusal)):
            raise
        raise refusal from error


@contextmanager
def enough_memory(kind: type[Exception], sentences: str) -> Iterator[None]:
    """Within the block running out of memory, of the machine or of the device, is an error.

    Args:
        kind: of the error to raise; one that is of it already stays.
        sentences: what did not fit, and what to do.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, kind) or not is_out_of_memory(error):
            raise
        raise kind(sentences) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of the machine or of the device."""
    if isinstance(error, MemoryError):
        return True
    # Without it no library raises another kind.
    if "torch" not in sys.modules or not isinstance(error, RuntimeError):
        return False
    from accelerate.utils.memory import should_reduce_batch_size

    text = str(error).lower()
    return should_reduce_batch_size(error) or any(sign in text for sign in _SIGNS_OF_NO_MEMORY)
