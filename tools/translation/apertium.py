"""Translation by Apertium: rules and dictionaries, one Debian package per pair of languages.

The program runs without a shell, and texts are its standard input, never its arguments. It is a
script with a pipeline, so it gets a process group, which is killed as a whole at the deadline.
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
    "Name a directory with NLLB-200 in tools.MT.options.model_directory, or run `apt install "
    "apertium apertium-eng-spa apertium-eng-cat` (more pairs: `apt-cache search apertium`)"
)
_MODE_INTO_ENGLISH = re.compile(r"([a-z]{2,3})-(?:eng|en)")
# Programs, dictionaries and rules in the file of a mode.
_NAMED = re.compile(r"[^\s'\"|]+")
_LISTING_SECONDS = 10.0

# Apertium's stream format: these are escaped, square brackets hold what is not to be translated,
# and a null character ends a text and all that the program remembers of it.
_SPECIAL = re.compile(r"[\\\[\]{}^$/@<>~]")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_NOT_TRANSLATED = re.compile(r"(?<!\\)\[[^\]]*\]")
# Apertium's own text filter ends every text with this full stop.
_BRACKETS = "[]"
_END_OF_SENTENCE = f".{_BRACKETS}"
_END_OF_TEXT = "\0"


class ApertiumTranslator:
    """Translates with the installed pairs into English."""

    # A run takes a tenth of a second before it reads anything.
    max_batch_size = 256
    timeout_seconds = 60.0

    def __init__(self, tool_name: str) -> None:
        self.tool_name = tool_name

    def identity(self) -> str:
        """Return a digest of the pairs, their programs and their data; `none` without any."""
        try:
            modes = sorted(self.modes.values())
        except ToolUnavailableError:
            return "pairs=none"
        # A mode is described beside the program's other data.
        folder = Path(self._program()).resolve().parents[1] / "share" / "apertium" / "modes"
        files = [path for mode in modes for path in _data_files(folder / f"{mode}.mode")]
        return f"pairs={hex_digest(*modes, *files, *map(file_digest, files))}"

    def check_available(self) -> None:
        """Raise ToolUnavailableError unless a pair into English is installed."""
        if not self.modes:
            raise self._unavailable("Apertium has no pair into English installed")

    @cached_property
    def modes(self) -> Mapping[str, str]:
        """Apertium's code of each source language, and the mode that translates it into English."""
        problem = "Apertium does not list its pairs ({})"
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
        """Do nothing: the program loads its data at each run, in a moment."""

    def translate(self, texts: Sequence[str], language: str) -> list[str | ToolCallError]:
        """Translate texts of one language in one run of the program.

        Returns:
            Translations in order; without a pair, an error `unsupported_language` per text.

        Raises:
            TranslationFailedError: If the program fails, or its output cannot be read.
            ToolTimeoutError: If it takes too long.
            ToolUnavailableError: If it cannot be run.
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
            raise TranslationFailedError(f"Apertium wrote no UTF-8 for {mode}: {error}.") from error
        # Without the brackets of every text, texts and translations may not match.
        if len(parts) != len(texts) or not all(_BRACKETS in part for part in parts):
            raise TranslationFailedError(
                f"Apertium did not write one translation for each of {len(texts)} texts in {mode}."
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
                "no weights of a translation model are given and Apertium is not installed"
            )
        return program

    def _unavailable(self, reason: str) -> ToolUnavailableError:
        return ToolUnavailableError(self.tool_name, reason, _REMEDY)


def _data_files(mode_file: Path) -> list[Path]:
    """List the file of a mode, and the programs and files named in it, as far as they exist."""
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
    """Return the exit status and the first line of output of a program that failed."""
    message = (finished.stderr or finished.stdout).decode(errors="replace").strip()
    return f"status {finished.returncode}: {message.partition(chr(10))[0][:200] or 'nothing said'}"


def run_program(
    arguments: Sequence[str], text: bytes = b"", *, timeout_seconds: float
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end.

    Raises:
        OSError: If it cannot be started.
        ToolTimeoutError: If it takes too long; it is killed with all that it started.
    """
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
                # Before waiting, while the process id still belongs to it.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(arguments, process.wait(), output, errors)
