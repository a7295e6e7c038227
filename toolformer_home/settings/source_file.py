"""`sources.yaml`: the sources that commands and the inbox have added, beside `toolformer.yaml`.

The program alone changes it, as the user alone changes `toolformer.yaml`; the corpus has the
sources of both.
"""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from toolformer.files.sealed import DIGEST, sealed, unsealed
from toolformer.files.whole_files import write_whole
from toolformer.sources.source import BUILT_IN_SOURCES
from toolformer_home.settings.corpus_sections import SourceSettings
from toolformer_home.settings.errors import SettingsError
from toolformer_home.settings.sections import validated
from toolformer_home.settings.yaml_text import read_yaml

_HEADER = (
    "# Written by `toolformer ingest`, `toolformer sources remove` and the inbox. Sources that\n"
    "# you list by hand belong in toolformer.yaml (corpus.sources).\n"
)
_KEY = "sources"
# Characters that JSON takes as they are, and YAML refuses or takes for the end of a line.
_OTHERWISE_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def sources_file(settings_file: Path) -> Path:
    """Beside `toolformer.yaml`."""
    return settings_file.with_name("sources.yaml")


def added_sources(settings_file: Path) -> list[SourceSettings]:
    """The sources of the file beside `toolformer.yaml`, with absolute paths; see `read_sources`."""
    file = sources_file(settings_file)
    return [
        source.model_copy(update={"path": absolute_source(source.path, file.parent)})
        for source in read_sources(file)
    ]


def read_sources(file: Path) -> list[SourceSettings]:
    """The sources that a file lists; none where there is no file.

    Raises:
        SettingsError: it is not valid.
    """
    if not file.exists():
        return []
    content = read_yaml(file)
    try:
        entries = unsealed(content, [_KEY])[_KEY]
    except ValueError as error:
        raise _not_ours(file, str(error)) from error
    if not isinstance(entries, list):
        raise _not_ours(file, f"`{_KEY}` is no list")
    return list(validated({"corpus": {"sources": entries}}, origin=str(file)).corpus.sources)


def write_added_sources(settings_file: Path, sources: Iterable[SourceSettings]) -> None:
    """Replace the entries of the file; to be called under `Home.shards_lock`."""
    entries = [source.model_dump(exclude_defaults=True, exclude_none=True) for source in sources]
    lines = "".join(f"\n  - {json.dumps(entry, ensure_ascii=False)}" for entry in entries)
    lines = _OTHERWISE_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", lines)
    digest = json.dumps(sealed({_KEY: entries})[DIGEST])
    text = f"{_HEADER}{_KEY}:{lines or ' []'}\n{DIGEST}: {digest}\n"
    write_whole(sources_file(settings_file), text)


def _not_ours(file: Path, problem: str) -> SettingsError:
    return SettingsError(
        f"{file} cannot be used: {problem}. Expected it as the program writes it; sources that you "
        "list by hand belong in toolformer.yaml (corpus.sources). Correct it, or move it aside and "
        "ingest your sources again: they get back what was computed from them."
    )


def absolute_source(path: str, folder: Path) -> str:
    """A source as the settings give it; a relative path is looked up from a folder."""
    return path if path in BUILT_IN_SOURCES else absolute_path(path, folder)


def absolute_path(path: str, folder: Path) -> str:
    """A path, from a folder where it is relative; an address such as `s3://…` stays as it is."""
    if "://" in path:
        return path
    # Not by `Path`, which raises for the home of an unknown user.
    return os.path.abspath(folder / os.path.expanduser(path))  # noqa: PTH100, PTH111
