"""Reads and writes `sources.json`: sources that commands and the inbox have added.

Only the program writes this file, and only the user writes `toolformer.yaml`; the corpus has the
sources of both. An inbox can add thousands of sources; rewriting YAML each time would be slow and
would move the user's comments.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from pydantic_core import from_json

from toolformer.base.atomic_files import write_atomically
from toolformer.settings.corpus_sections import BUILT_IN_SOURCES, SourceSettings
from toolformer.settings.errors import SettingsError
from toolformer.settings.sections import validated

_KEY = "sources"


def sources_file(settings_file: Path) -> Path:
    return settings_file.with_name("sources.json")


def added_sources(settings_file: Path) -> list[SourceSettings]:
    return read_sources(sources_file(settings_file))


def read_sources(file: Path) -> list[SourceSettings]:
    """Return the sources of a file, if it exists; raise a SettingsError if it is invalid."""
    if not file.exists():
        return []
    try:
        content = from_json(file.read_bytes())
        if not isinstance(content, dict) or _KEY not in content:
            raise ValueError(f"it lacks {_KEY}")
    except ValueError as error:
        raise SettingsError(
            f"{file} cannot be used: {error}. Expected the file as toolformer wrote it; sources "
            "that you add by hand belong in toolformer.yaml (corpus.sources). Correct it, or "
            "move it away and ingest your sources again, which keeps everything computed from them."
        ) from error
    return list(validated({"corpus": {_KEY: content[_KEY]}}, origin=str(file)).corpus.sources)


def write_added_sources(settings_file: Path, sources: Iterable[SourceSettings]) -> None:
    """Replace the entries of the file; the caller must hold `Home.shards_lock`."""
    entries = [source.model_dump(exclude_defaults=True, exclude_none=True) for source in sources]
    write_atomically(sources_file(settings_file), json.dumps({_KEY: entries}, indent=1) + "\n")


def absolute_source(path: str, folder: Path) -> str:
    return path if path in BUILT_IN_SOURCES else absolute_path(path, folder)


def absolute_path(path: str, folder: Path) -> str:
    """Resolve a relative path against a folder; addresses such as `s3://…` do not change."""
    path = path.removeprefix("file://")
    if "://" in path:
        return path
    # `Path` would raise for `~unknown_user`.
    return os.path.abspath(folder / os.path.expanduser(path))  # noqa: PTH100, PTH111
