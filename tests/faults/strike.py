"""Runs first in a command that is to be disturbed: counts what it does to its home, and strikes.

A copy of this file is the command's `sitecustomize`, so only the standard library may be imported,
nothing of ours. What to do stands in the environment, as `injection.py` writes it; processes that
the command starts do not inherit it. Native code (DuckDB, SQLite, safetensors) opens files unseen;
the flush and the rename of what it wrote are seen.
"""

import errno
import json
import os
import re
import signal
import sys
import threading

_VARIABLE = "TOOLFORMER_FAULT"
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# What makes temporary names unique, the same in no two runs.
_RANDOM = re.compile(r"\.[0-9a-f]{16}(?=(\.lock|\.old)?\.tmp\b)")
_SIGNALS = {"kill": signal.SIGKILL, "interrupt": signal.SIGINT, "terminate": signal.SIGTERM}
_DEEP_AREAS = ("warehouse", "cache/checkpoints", "models", "indexes")


def area_of(path: str) -> str:
    """The part of the home that a path inside it belongs to."""
    for area in _DEEP_AREAS:
        if path.startswith(area + "/"):
            return area + "/" + path[len(area) + 1 :].split("/")[0]
    folder, slash, _ = path.partition("/")
    return folder if slash else "top"


class _Watch:
    """Counts events by moment and area; at the chosen one it strikes."""

    def __init__(self, order: dict) -> None:
        self.order = order
        self.root = os.path.realpath(order["home"]) + "/"
        self.counts: dict[str, int] = {}
        self.is_full = False
        self.turn = threading.RLock()
        self.is_inside = threading.local()

    def saw(self, moment: str, path: object) -> None:
        """Something happens to a file of the home."""
        if getattr(self.is_inside, "flag", False) or isinstance(path, int):
            return
        self.is_inside.flag = True
        try:
            whole = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
            if whole.startswith(self.root):
                with self.turn:
                    self._count(moment, _RANDOM.sub("", whole[len(self.root) :]))
        finally:
            self.is_inside.flag = False

    def _count(self, moment: str, path: str) -> None:
        event = f"{moment} {area_of(path)}"
        self.counts[event] = number = self.counts.get(event, 0) + 1
        action = self.order["action"]
        if action == "record":
            with open(self.order["file"], "a") as file:  # noqa: PTH123
                file.write(json.dumps([event, number, path]) + "\n")
        elif event == self.order["event"] and number == self.order["number"]:
            self._strike(action)
        if self.is_full and moment in ("open", "mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def _strike(self, action: str) -> None:
        with open(self.order["file"], "w"):  # noqa: PTH123
            pass
        if action == "full":
            self.is_full = True
        else:
            os.killpg(os.getpgrp(), _SIGNALS[action])

    def hear(self, name: str, arguments: tuple) -> None:
        """An audit hook, called before each operation."""
        if name == "open":
            path, mode, flags = arguments
            if flags & _WRITING or (mode and mode.strip("rbt")):
                self.saw("open", path)
            elif isinstance(path, (str, os.PathLike)) and os.fspath(path).endswith(".tmp"):
                self.saw("written", path)
        elif name == "os.rename":
            self.saw("before rename", arguments[1])
        elif name in ("os.remove", "os.rmdir"):
            path = _within(*arguments)
            # Temporary files are removed whether or not they are still there.
            if os.path.lexists(path):
                self.saw("remove", path)
        elif name == "os.mkdir":
            self.saw("mkdir", arguments[0])

    def also_after(self, function):
        """The audit hook is called before; this tells of a rename that is done."""

        def renamed(source, target, *others, **named):
            result = function(source, target, *others, **named)
            self.saw("after rename", target)
            return result

        return renamed


def _within(path: str, folder: int) -> str:
    """The path of a file that is named within an open folder, as where a tree is removed."""
    if folder == -1:
        return path
    try:
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)  # noqa: PTH115, PTH118
    except OSError:
        return path


def _begin() -> None:
    order = os.environ.pop(_VARIABLE, None)
    if order is None:
        return
    watch = _Watch(json.loads(order))
    os.replace = watch.also_after(os.replace)
    os.rename = watch.also_after(os.rename)
    sys.addaudithook(watch.hear)


_begin()
