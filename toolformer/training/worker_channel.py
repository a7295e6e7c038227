"""What a process of a training tells the one that started it, and how it learns that that ended.

    parent -> stdin     nothing; it closes when the parent ends, however it ends
    parent <- stdout    one JSON object a line: a step, an error, processes that ended
    parent <- stderr    everything else that is said, for people

The processes that `torchrun` starts inherit all three. Does not know what is trained.
"""

import json
import os
import signal
import sys
import threading
from typing import Any

# What one write to a pipe keeps together, by POSIX; several processes write to the same one.
LONGEST_LINE = 4096
_LONGEST_MESSAGE = 2000


class Channel:
    """The way to the parent; what else is printed goes to standard error from here on."""

    def __init__(self) -> None:
        self._pipe = os.dup(1)
        os.dup2(2, 1)

    def send(self, kind: str, **content: Any) -> None:
        """Tell the parent something; a parent that is gone is told nothing.

        Args:
            kind: `step`, `error` or `ended`.
            content: plain values. A text `message` is cut where the line gets too long.
        """
        line = self._line(kind, content)
        if len(line) > LONGEST_LINE:
            message = str(content.get("message", ""))
            line = self._line(kind, {**content, "message": f"{message[: _LONGEST_MESSAGE // 4]} …"})
        try:
            os.write(self._pipe, line)
        except BrokenPipeError:
            end_this_process()

    def _line(self, kind: str, content: dict[str, Any]) -> bytes:
        # Not ASCII alone: paths in other scripts would take six times the room.
        return json.dumps({"kind": kind, **content}, ensure_ascii=False).encode() + b"\n"


def end_with_parent() -> None:
    """From here on this process ends when the one that started it all ends, even by kill -9."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def end_this_process() -> None:
    """End at once, without tidying up: what is on disk is whole at any time."""
    os.kill(os.getpid(), signal.SIGKILL)


def _wait_for_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    end_this_process()
