"""Settings files as YAML, with mistakes explained."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from toolformer.base.regular_files import read_regular
from toolformer.settings.errors import SettingsError

YAML_ERRORS = (YAMLError, RecursionError, ValueError, TypeError)
# Ten thousand sources take a hundredth.
_MAX_BYTES = 2**26


def loaded(text: str) -> Any:
    """What YAML says.

    Raises:
        YAML_ERRORS: it is not valid.
    """
    return YAML(typ="safe").load(text)


def read_yaml(file: Path) -> dict[str, Any]:
    """What a settings file says; nothing for one of comments alone.

    Raises:
        SettingsError: it is not valid, with the line, or empty: a full disk leaves such files.
    """
    text = ""
    try:
        text = read_regular(file, maximum_bytes=_MAX_BYTES).decode("utf-8-sig")
        content = loaded(text) if text.strip() else None
    except YAML_ERRORS as error:
        raise SettingsError(
            f"{file} is not valid YAML{_explained(text, error)} Correct it, or move it aside to "
            "get a new one."
        ) from error
    if not text.strip():
        raise SettingsError(
            f"{file} is empty. Expected at least a comment. Bring it back from a copy, or remove "
            "it: a `toolformer.yaml` that is missing is made at the next build."
        )
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{file} holds no settings. Expected lines such as `preset: laptop`.")
    return content


def _explained(text: str, error: Exception) -> str:
    if isinstance(error, ReaderError):
        line = text.count("\n", 0, int(error.position))
        return f" in line {line + 1}: it has a character that no text has."
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return f": {error}."
    line = error.problem_mark.line
    written = next(iter(text.splitlines()[line:]), "").strip()
    return (
        f" in line {line + 1}, {written[:80]!r}: {error.problem}. Expected `name: value`, each "
        "name once, with spaces in front as in its section."
    )
