"""Parses YAML settings files, with errors that name line and remedy."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from toolformer.base.regular_files import read_regular
from toolformer.settings.errors import SettingsError

YAML_ERRORS = (YAMLError, RecursionError, ValueError, TypeError)
# Limits memory. A file with ten thousand sources has a hundredth of this size.
_MAX_BYTES = 2**26


def loaded(text: str) -> Any:
    """Parse YAML; raise one of `YAML_ERRORS` if it is invalid."""
    return YAML(typ="safe").load(text)


def read_yaml(file: Path) -> dict[str, Any]:
    """Return the content of a settings file; it is empty for a file with only comments.

    Raises a SettingsError if the file is invalid or blank, as a full disk can leave it.
    """
    text = ""
    try:
        text = read_regular(file, maximum_bytes=_MAX_BYTES).decode("utf-8-sig")
        content = loaded(text) if text.strip() else None
    except YAML_ERRORS as error:
        raise SettingsError(
            f"{file} is not valid YAML{_explained(text, error)} Correct the file, or move it away; "
            "the next build then writes a new one."
        ) from error
    if not text.strip():
        raise SettingsError(
            f"{file} is empty. Expected at least a comment. Restore it from a backup, or remove "
            "it; the next build then writes a new one."
        )
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{file} has no settings. Expected lines such as `preset: laptop`.")
    return content


def _explained(text: str, error: Exception) -> str:
    if isinstance(error, ReaderError):
        line = text.count("\n", 0, int(error.position))
        return f" in line {line + 1}: YAML does not allow one of its characters."
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return f": {error}."
    line = error.problem_mark.line
    written = next(iter(text.splitlines()[line:]), "").strip()
    return (
        f" in line {line + 1}, {written[:80]!r}: {error.problem}. Expected `name: value`, each "
        "name once, indented like the other lines of its section."
    )
