"""Translates with Apertium: rules and dictionaries, in one Debian package per pair of languages.

Texts are written to standard input and never appear among the arguments. The program is a script
with a pipeline, so it gets its own process group, which is killed as a whole at the deadline.
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
# Names of programs, dictionaries and rules in the file of a mode.
_NAMED = re.compile(r"[^\s'\"|]+")
_LISTING_SECONDS = 10.0

# Apertium's stream format: these characters are escaped, text in square brackets is not translated,
# and a null character ends a text and resets the program.
_SPECIAL = re.compile(r"[\\\[\]{}^$/@<>~]")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_NOT_TRANSLATED = re.compile(r"(?<!\\)\[[^\]]*\]")
# Apertium's own text filter also ends every text with this full stop.
_BRACKETS = "[]"
_END_OF_SENTENCE = f".{_BRACKETS}"
_END_OF_TEXT = "\0"


class ApertiumTranslator:
    # A run needs a tenth of a second to start, so many texts share one.
    max_batch_size = 256
    timeout_seconds = 60.0

    def __init__(self, tool_name: str) -> None:
        self.tool_name = tool_name

    def identity(self) -> str:
        """Return a digest of the pairs, their programs and their data."""
        try:
            modes = sorted(self.modes.values())
        except ToolUnavailableError:
            return "pairs=none"
        # The files of modes are among the program's other data.
        folder = Path(self._program()).resolve().parents[1] / "share" / "apertium" / "modes"
        files = [path for mode in modes for path in _data_files(folder / f"{mode}.mode")]
        return f"pairs={hex_digest(*modes, *files, *map(file_digest, files))}"

    def check_available(self) -> None:
        if not self.modes:
            raise self._unavailable("no Apertium pair into English is installed")

    @cached_property
    def modes(self) -> Mapping[str, str]:
        """Mode that translates into English, by Apertium's code of the source language."""
        problem = "Apertium cannot list its pairs ({})"
        try:
            finished = self._run(["-l"], timeout_seconds=_LISTING_SECONDS)
        except ToolTimeoutError as error:
            raise self._unavailable(problem.format(error)) from error
        if finished.returncode != 0:
            raise self._unavailable(problem.format(_complaint(finished)))
        listed = finished.stdout.decode(errors="replace").split()
        matches = [match for mode in listed if (match := _MODE_INTO_ENGLISH.fullmatch(mode))]
        return {match.group(1): match.group() for match in matches}

    def prepare(self) -> None:
        """Do nothing: the program loads its data at each run."""

    def translate(self, texts: Sequence[str], language: str) -> list[str | ToolCallError]:
        """Return translations in order, or errors `unsupported_language` if no pair is installed.

        Raise TranslationFailedError if the program fails or its output cannot be read, and
        ToolTimeoutError if it takes too long.
        """
        codes = apertium_codes(language)
        mode = next((self.modes[code] for code in codes if code in self.modes), None)
        if mode is None:
            return [unsupported_language(language, "Apertium as installed here") for _ in texts]
        stream = "".join(f"{_escaped(text)}{_END_OF_TEXT}" for text in texts).encode()
        finished = self._run(["-z", "-u", "-f", "none", mode], stream)
        if finished.returncode != 0:
            raise TranslationFailedError(f"Apertium failed on {mode}: {_complaint(finished)}.")
        try:
            # After the last text, each program of the pipeline adds a null character of its own.
            parts = finished.stdout.decode().rstrip(_END_OF_TEXT).split(_END_OF_TEXT)
        except UnicodeDecodeError as error:
            raise TranslationFailedError(
                f"Apertium's output for {mode} is not UTF-8: {error}."
            ) from error
        # If the brackets of a text are missing, texts and translations may not match.
        if len(parts) != len(texts) or not all(_BRACKETS in part for part in parts):
            raise TranslationFailedError(
                f"Apertium did not write one translation per text for {len(texts)} texts in {mode}."
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
    """List the file of a mode, and existing programs and files that it names."""
    if not mode_file.is_file():
        return []
    named = _NAMED.findall(mode_file.read_text(errors="replace"))
    paths = (Path(shutil.which(name) or name) for name in named)
    return [mode_file, *(path for path in paths if path.is_absolute() and path.is_file())]


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text) + _END_OF_SENTENCE


def _unescaped(output: str) -> str:
    text = output.replace(_END_OF_SENTENCE, "")
    return " ".join(_ESCAPED.sub(r"\1", _NOT_TRANSLATED.sub("", text)).split())


def _complaint(finished: subprocess.CompletedProcess[bytes]) -> str:
    """Return exit status and first line of output of a program that failed."""
    message = (finished.stderr or finished.stdout).decode(errors="replace").strip()
    return f"status {finished.returncode}: {message.partition(chr(10))[0][:200] or 'no output'}"


def run_program(
    arguments: Sequence[str], text: bytes = b"", *, timeout_seconds: float
) -> subprocess.CompletedProcess[bytes]:
    """Run a program; at the deadline, kill it with all that it started."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        list(arguments), stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    ) as process:
        try:
            output, errors = process.communicate(text, timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise ToolTimeoutError(
                f"{arguments[0]} did not end within {timeout_seconds:g} s. Expected an answer in "
                "that time."
            ) from error
        finally:
            if process.returncode is None:
                # Killed before waiting, while the process id still belongs to the program.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(arguments, process.wait(), output, errors)
