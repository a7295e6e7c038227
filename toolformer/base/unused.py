"""What is made again where it is missing, and need not stay for ever."""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_KEPT_SECONDS = 30 * 24 * 3600.0


def remove_unused(paths: Iterable[Path], *, used: Path) -> None:
    """Remove the files that nobody has used for 30 days.

    Args:
        paths: each made by a program that calls this when it uses it.
    """
    # The time of change tells; where none can be set, nothing can be removed either.
    with suppress(OSError):
        os.utime(used)
        for path in paths:
            if path.stat().st_mtime < time.time() - _KEPT_SECONDS:
                path.unlink()
