"""Turns what goes wrong while a model is loaded and used into errors that say what to do."""

import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_MAX_CHARACTERS = 300
# Messages of CUDA, cuBLAS and file mappings that accelerate does not know.
_SIGNS = ("error: out of memory", "cublas_status_alloc_failed", "cannot allocate memory")


def prepare_transformers() -> None:
    """Import transformers such that it downloads nothing and draws no progress bars."""
    # Read when it is imported.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers.utils import logging

    logging.disable_progress_bar()


@contextmanager
def loading(what: str, refused: Callable[[str], Exception]) -> Iterator[None]:
    """Refuse a file that a library cannot load in the block.

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
    """Raise an error of a kind, with a message, if memory runs out in the block."""
    try:
        yield
    except Exception as error:
        if isinstance(error, kind) or not is_out_of_memory(error):
            raise
        raise kind(sentences) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, of the machine or of the device."""
    if isinstance(error, MemoryError):
        return True
    # Only torch raises other kinds.
    if "torch" not in sys.modules or not isinstance(error, RuntimeError):
        return False
    from accelerate.utils.memory import should_reduce_batch_size

    text = str(error).lower()
    return should_reduce_batch_size(error) or any(sign in text for sign in _SIGNS)
