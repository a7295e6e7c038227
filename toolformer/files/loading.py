"""What goes wrong while a model's files are opened, as one error that names them."""

import os
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_MAX_CHARACTERS = 300


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
        what: what is loaded, with its path.
        refused: makes the error to raise from a sentence without its full stop.
    """
    try:
        yield
    # Transformers raises whatever a wrong value leads to, and tokenizers raises Exception itself:
    # no list of classes holds them all.
    except Exception as error:
        message = textwrap.shorten(str(error), _MAX_CHARACTERS, placeholder=" …").rstrip(".")
        refusal = refused(f"{what} cannot be loaded ({type(error).__name__}: {message})")
        if isinstance(error, type(refusal)):
            raise
        raise refusal from error
