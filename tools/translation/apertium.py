"""Translates with Apertium, a system of rules and dictionaries.

Each pair of languages is one Debian package. A pair has a *mode* per direction, such as `spa-eng`:
a file that names the programs and dictionaries of its pipeline. Texts are written to standard input
and never appear among the arguments. `apertium` is a shell script that starts a pipeline, so it
runs in its own process group, which is killed as a whole at the deadline.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from toolformer.base.digests import file_digest, hex_digest
from tools.errors import (
    ToolCallError,
    ToolTimeoutError,
    ToolUnavailableError,
    TranslationFailedError,
)
from tools.translation.languages import apertium_codes, unsupported_language

_PROGRAM = "apertium"
_REMEDY = (
    "Set tools.MT.options.model_directory to a directory with NLLB-200, or run `apt install "
    "apertium apertium-eng-spa apertium-eng-cat` (more pairs: `apt-cache search apertium`)"
)
_MODE_INTO_ENGLISH = re.compile(r"([a-z]{2,3})-(?:eng|en)")
# Matches each name in a mode file: programs, dictionaries and rules.
_NAME_IN_MODE_FILE = re.compile(r"[^\s'\"|]+")
_LISTING_SECONDS = 10.0

# Apertium's stream format: these characters are escaped, text in square brackets is not translated,
# and a null character ends a text and resets the program.
_SPECIAL = re.compile(r"[\\\[\]{}^$/@<>~]")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_NOT_TRANSLATED = re.compile(r"(?<!\\)\[[^\]]*\]")
# Appended to every text. Apertium's own text filter adds the same full stop; the empty brackets
# mark it in the output.
_END_MARKER = "[]"
_FINAL_STOP = f".{_END_MARKER}"
_TEXT_SEPARATOR = "\0"


class ApertiumTranslator:
    # Starting the program takes a tenth of a second, so one run translates many texts.
    max_batch_size = 256
    timeout_seconds = 60.0

    def __init__(self, tool_name: str) -> None:
        self.tool_name = tool_name

    def identity(self) -> str:
        """Return a digest of the installed language pairs, their programs and their data files."""
        try:
            modes = sorted(self.modes.values())
        except ToolUnavailableError:
            return "pairs=none"
        # Mode files are installed under the same prefix as the program.
        folder = Path(self._program()).resolve().parents[1] / "share" / "apertium" / "modes"
        files = [path for mode in modes for path in _data_files(folder / f"{mode}.mode")]
        return f"pairs={hex_digest(*modes, *files, *map(file_digest, files))}"

    def check_available(self) -> None:
        if not self.modes:
            raise self._unavailable(
                "no Apertium language pair that translates into English is installed"
            )

    @cached_property
    def modes(self) -> Mapping[str, str]:
        """Modes that translate into English, by Apertium's code of the source language."""
        problem = "Apertium cannot list its pairs ({})"
        try:
            completed = self._run(["-l"], timeout_seconds=_LISTING_SECONDS)
        except ToolTimeoutError as error:
            raise self._unavailable(problem.format(error)) from error
        if completed.returncode != 0:
            raise self._unavailable(problem.format(_failure_message(completed)))
        listed = completed.stdout.decode(errors="replace").split()
        matches = [match for mode in listed if (match := _MODE_INTO_ENGLISH.fullmatch(mode))]
        return {match.group(1): match.group() for match in matches}

    def prepare(self) -> None:
        """Do nothing: the program loads its data at each run."""

    def translate(self, texts: Sequence[str], language: str) -> list[str | ToolCallError]:
        """Return the translations in order. Without a pair, return `unsupported_language` errors.

        Raise TranslationFailedError if the program fails or its output cannot be read, and
        ToolTimeoutError if it takes too long.
        """
        codes = apertium_codes(language)
        mode = next((self.modes[code] for code in codes if code in self.modes), None)
        if mode is None:
            return [unsupported_language(language, "the installed Apertium") for _ in texts]
        stream = "".join(f"{_escaped(text)}{_TEXT_SEPARATOR}" for text in texts).encode()
        completed = self._run(["-z", "-u", "-f", "none", mode], stream)
        if completed.returncode != 0:
            raise TranslationFailedError(
                f"Apertium failed on {mode}: {_failure_message(completed)}."
            )
        try:
            # After the last text, each program of the pipeline adds a null character of its own.
            parts = completed.stdout.decode().rstrip(_TEXT_SEPARATOR).split(_TEXT_SEPARATOR)
        except UnicodeDecodeError as error:
            raise TranslationFailedError(
                f"Apertium's output for {mode} is not UTF-8: {error}."
            ) from error
        # If a part lacks its end marker, the translations may be misaligned with the texts.
        if len(parts) != len(texts) or not all(_END_MARKER in part for part in parts):
            raise TranslationFailedError(
                f"Apertium's output for {mode} does not have one translation for each of the "
                f"{len(texts)} texts."
            )
        return [_unescaped(part) for part in parts]

    def _run(
        self, arguments: Sequence[str], stream: bytes = b"", *, timeout_seconds: float | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        seconds = timeout_seconds or self.timeout_seconds
        try:
            return run_program([self._program(), *arguments], stream, timeout_seconds=seconds)
        except ToolTimeoutError:
            raise
        except OSError as error:
            raise self._unavailable(f"Apertium cannot be run ({error})") from error

    def _program(self) -> str:
        program = shutil.which(_PROGRAM)
        if program is None:
            raise self._unavailable(
                "no translation model is configured, and Apertium is not installed"
            )
        return program

    def _unavailable(self, reason: str) -> ToolUnavailableError:
        return ToolUnavailableError(self.tool_name, reason, _REMEDY)


def _data_files(mode_file: Path) -> list[Path]:
    """List a mode file and the existing programs and data files that it names."""
    if not mode_file.is_file():
        return []
    named = _NAME_IN_MODE_FILE.findall(mode_file.read_text(errors="replace"))
    paths = (Path(shutil.which(name) or name) for name in named)
    return [mode_file, *(path for path in paths if path.is_absolute() and path.is_file())]


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text) + _FINAL_STOP


def _unescaped(output: str) -> str:
    text = output.replace(_FINAL_STOP, "")
    return " ".join(_ESCAPED.sub(r"\1", _NOT_TRANSLATED.sub("", text)).split())


def _failure_message(completed: subprocess.CompletedProcess[bytes]) -> str:
    """Return the exit status of a failed program and the first line of its output."""
    message = (completed.stderr or completed.stdout).decode(errors="replace").strip()
    return f"status {completed.returncode}: {message.partition(chr(10))[0][:200] or 'no output'}"


def run_program(
    arguments: Sequence[str], stdin: bytes = b"", *, timeout_seconds: float
) -> subprocess.CompletedProcess[bytes]:
    """Run a program. At the deadline, kill it and every process that it started."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        list(arguments), stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    ) as process:
        try:
            output, errors = process.communicate(stdin, timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise ToolTimeoutError(
                f"{arguments[0]} did not finish within {timeout_seconds:g} s, and was killed."
            ) from error
        finally:
            if process.returncode is None:
                # Kill the group before reaping the process: later its id may belong to another.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(arguments, process.wait(), output, errors)
