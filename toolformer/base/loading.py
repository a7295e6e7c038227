"""Converts errors of the libraries that load and run models into errors that say what to do."""

import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_MAX_CHARACTERS = 300
# Out-of-memory messages of CUDA, cuBLAS and file mappings that accelerate does not recognise.
_OUT_OF_MEMORY = ("error: out of memory", "cublas_status_alloc_failed", "cannot allocate memory")


def prepare_transformers() -> None:
    """Import transformers so that it downloads nothing and draws no progress bars."""
    # Transformers reads this variable when it is imported.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers.utils import logging

    logging.disable_progress_bar()


@contextmanager
def loading(what: str, refused: Callable[[str], Exception]) -> Iterator[None]:
    """Convert an error in the block to `refused(sentence)`, unless memory ran out.

    The sentence says that `what` cannot be loaded, and why, without a full stop. An error that
    already has the class of `refused(…)` is raised unchanged.
    """
    try:
        yield
    # A wrong value can make transformers raise any exception, and tokenizers raises Exception
    # itself, so no list of classes would be complete.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        message = textwrap.shorten(str(error), _MAX_CHARACTERS, placeholder=" …").rstrip(".")
        refusal = refused(f"{what} cannot be loaded ({type(error).__name__}: {message})")
        if isinstance(error, type(refusal)):
            raise
        raise refusal from error


@contextmanager
def out_of_memory_as(kind: type[Exception], sentences: str) -> Iterator[None]:
    """Raise `kind(sentences)` if memory runs out in the block."""
    try:
        yield
    except Exception as error:
        if isinstance(error, kind) or not is_out_of_memory(error):
            raise
        raise kind(sentences) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the machine or the device ran out of memory."""
    if isinstance(error, MemoryError):
        return True
    # Only torch reports a lack of memory by another class.
    if "torch" not in sys.modules or not isinstance(error, RuntimeError):
        return False
    from accelerate.utils.memory import should_reduce_batch_size

    text = str(error).lower()
    return should_reduce_batch_size(error) or any(sign in text for sign in _OUT_OF_MEMORY)
