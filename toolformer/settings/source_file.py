"""`sources.json`: the sources that commands and the inbox have added, beside `toolformer.yaml`.

The program alone changes it, as the user alone changes `toolformer.yaml`; the corpus has the
sources of both. Two files, since an inbox lists thousands, and editing YAML would move the user's
comments and take seconds for these.
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
    """Beside `toolformer.yaml`."""
    return settings_file.with_name("sources.json")


def added_sources(settings_file: Path) -> list[SourceSettings]:
    """The sources of the file beside `toolformer.yaml`; see `read_sources`."""
    return read_sources(sources_file(settings_file))


def read_sources(file: Path) -> list[SourceSettings]:
    """The sources that a file lists; none where there is no file.

    Raises:
        SettingsError: it is not valid.
    """
    if not file.exists():
        return []
    try:
        content = from_json(file.read_bytes())
        if not isinstance(content, dict) or _KEY not in content:
            raise ValueError(f"it lacks {_KEY}")
    except ValueError as error:
        raise SettingsError(
            f"{file} cannot be used: {error}. Expected it as the program writes it; sources that "
            "you list by hand belong in toolformer.yaml (corpus.sources). Correct it, or move it "
            "aside and ingest your sources again: they get back what was computed from them."
        ) from error
    return list(validated({"corpus": {_KEY: content[_KEY]}}, origin=str(file)).corpus.sources)


def write_added_sources(settings_file: Path, sources: Iterable[SourceSettings]) -> None:
    """Replace the entries of the file; to be called under `Home.shards_lock`."""
    entries = [source.model_dump(exclude_defaults=True, exclude_none=True) for source in sources]
    write_atomically(sources_file(settings_file), json.dumps({_KEY: entries}, indent=1) + "\n")


def absolute_source(path: str, folder: Path) -> str:
    """A source as the settings give it; a relative path is looked up from a folder."""
    return path if path in BUILT_IN_SOURCES else absolute_path(path, folder)


def absolute_path(path: str, folder: Path) -> str:
    """A path, from a folder where it is relative; an address such as `s3://…` stays as it is."""
    path = path.removeprefix("file://")
    if "://" in path:
        return path
    # Not by `Path`, which raises for the home of an unknown user.
    return os.path.abspath(folder / os.path.expanduser(path))  # noqa: PTH100, PTH111
