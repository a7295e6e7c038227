"""Caches finished calls on disk, so that a call is made once across all runs and shards.

key     digest of tool, version, arguments and everything else the answer depends on
value   JSON: the tool's answer, or reason and message of its refusal
"""

import json
import logging
import sqlite3
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import MODE_BINARY, MODE_RAW

from toolformer.base.digests import hex_digest
from tools.protocol import ToolResult

_LOGGER = logging.getLogger(__name__)

# If the cache grows larger, its oldest outcomes are removed.
_MAX_BYTES = 8 * 2**30
_LOCK_SECONDS = 60


class ResultCache:
    """A folder of outcomes, shared by processes.

    If the folder cannot be read or written, the process logs a warning and continues uncached.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cache: diskcache.Cache | None = None
        self._is_usable = True

    def get(self, keys: Sequence[str]) -> list[ToolResult | None]:
        kept = self._do(lambda cache: [_outcome(cache, key) for key in keys])
        return kept or [None] * len(keys)

    def keep(self, outcomes: Mapping[str, ToolResult]) -> None:
        def write(cache: diskcache.Cache) -> None:
            # A single transaction, since SQLite lets one process write at a time.
            with cache.transact():
                for key, outcome in outcomes.items():
                    if outcome.is_permanent:
                        cache.set(key, [outcome.result, outcome.reason, outcome.message])

        self._do(write)

    def _do(self, action: Callable[[diskcache.Cache], Any]) -> Any:
        try:
            if self._cache is None and self._is_usable:
                self._cache = diskcache.Cache(
                    str(self._folder), timeout=_LOCK_SECONDS, disk=_Disk, size_limit=_MAX_BYTES
                )
            return action(self._cache) if self._cache is not None else None
        except (OSError, sqlite3.Error, diskcache.Timeout, ValueError) as error:
            self._cache, self._is_usable = None, False
            _LOGGER.warning(
                "The cache of tool results in %s cannot be used (%s). Calls are made without it. "
                "Check free disk space and permissions, or remove the folder.",
                self._folder,
                error,
            )
            return None


def outcome_key(tool_name: str, version: str, *parts: str) -> str:
    """Return a digest of everything on which an outcome depends; the order of parts counts.

    Example:
        >>> outcome_key("A", "1", "bc") == outcome_key("A", "1", "b", "c")
        False
    """
    return hex_digest(json.dumps([tool_name, version, *parts]))


class _Disk(diskcache.JSONDisk):
    """Reads only JSON and never unpickles, so a manipulated cache cannot run code."""

    def fetch(self, mode: int, filename: str, value: object, read: bool) -> Any:
        if mode not in (MODE_RAW, MODE_BINARY):
            raise ValueError(f"a value is stored in mode {mode}, which is not JSON")
        return super().fetch(mode, filename, value, read)


def _outcome(cache: diskcache.Cache, key: str) -> ToolResult | None:
    try:
        stored: Any = cache.get(key)
        if stored is None:
            return None
        answer, reason, message = stored
    except (TypeError, ValueError, zlib.error) as error:
        _LOGGER.debug("A stored tool result cannot be read (%s); the call is made again.", error)
        return None
    return ToolResult(answer, reason, 0.0, from_cache=True, message=message)
