"""Translation by Apertium: rules and dictionaries, a Debian package per pair of languages.

The program is run without a shell; texts are its standard input, never its arguments. It has a
deadline, and forms a process group with all that it starts, which is ended as a whole: a shell
script that is killed would otherwise leave its pipeline behind.
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
# Programs and paths of dictionaries and rules, as they stand in the file of a mode.
_NAMED = re.compile(r"[^\s'\"|]+")
_LISTING_SECONDS = 10.0

# Apertium's stream format: these are escaped, square brackets hold what is not to be translated,
# and a null character ends a text and all that the program remembers of it.
_SPECIAL = re.compile(r"[\\\[\]{}^$/@<>~]")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_NOT_TRANSLATED = re.compile(r"(?<!\\)\[[^\]]*\]")
# The full stop that Apertium's own text filter puts behind every text: it ends a sentence.
_BRACKETS = "[]"
_END_OF_SENTENCE = f".{_BRACKETS}"
_END_OF_TEXT = "\0"


class ApertiumTranslator:
    """The pairs into English that are installed."""

    # One run takes a tenth of a second before it reads anything.
    texts_at_once = 256

    timeout_seconds = 60.0

    def __init__(self, tool_name: str) -> None:
        self.tool_name = tool_name

    def identity(self) -> str:
        """Name the pairs, and programs and data by their content; `none` without any."""
        try:
            modes = sorted(self.modes.values())
        except ToolUnavailableError:
            return "pairs=none"
        files = [path for mode in modes for path in _data_files(self._mode_file(mode))]
        return f"pairs={hex_digest(*modes, *files, *map(file_digest, files))}"

    def check_available(self) -> None:
        """Check that a pair into English is installed."""
        if not self.modes:
            raise ToolUnavailableError(
                self.tool_name, "Apertium has no pair into English installed", _REMEDY
            )

    @cached_property
    def modes(self) -> Mapping[str, str]:
        """Apertium's code of each source language, and the mode that translates it into English.

        Raises:
            ToolUnavailableError: When the program is not there or does not list its modes.
        """
        try:
            finished = self._run(["-l"], timeout_seconds=_LISTING_SECONDS)
        except ToolTimeoutError as error:
            raise self._no_list(str(error)) from error
        if finished.returncode != 0:
            raise self._no_list(_complaint(finished))
        listed = finished.stdout.decode(errors="replace").split()
        matches = [match for mode in listed if (match := _MODE_INTO_ENGLISH.fullmatch(mode))]
        return {match.group(1): match.group() for match in matches}

    def prepare(self) -> None:
        """Do nothing: the program loads its data at each run, in a moment."""

    def translate(self, texts: Sequence[str], language: str) -> list[str | ToolCallError]:
        """Translate texts of one language in one run of the program.

        Returns:
            The translations in order; an error with reason `unsupported_language` for all where no
            pair is installed.

        Raises:
            TranslationFailedError: When the program fails, or writes what cannot be read.
            ToolTimeoutError: When it takes too long.
            ToolUnavailableError: When it cannot be run.
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
            # Behind the last text every program of the pipeline adds a null character of its own.
            parts = finished.stdout.decode().rstrip(_END_OF_TEXT).split(_END_OF_TEXT)
        except UnicodeDecodeError as error:
            raise TranslationFailedError(f"Apertium wrote no UTF-8 for {mode}: {error}.") from error
        # The brackets come back from each text: where they lack, texts and answers may not match.
        if len(parts) != len(texts) or not all(_BRACKETS in part for part in parts):
            raise TranslationFailedError(
                f"Apertium did not write one translation for each of {len(texts)} texts in {mode}."
            )
        return [_unescaped(part) for part in parts]

    def _run(
        self, arguments: Sequence[str], stream: bytes = b"", *, timeout_seconds: float | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the program."""
        try:
            return run_program(
                [self._program(), *arguments],
                stream,
                timeout_seconds=timeout_seconds or self.timeout_seconds,
            )
        except ToolTimeoutError:
            raise
        except OSError as error:
            raise ToolUnavailableError(
                self.tool_name, f"Apertium cannot be run ({error})", _REMEDY
            ) from error

    def _program(self) -> str:
        program = shutil.which(_PROGRAM)
        if program is None:
            raise ToolUnavailableError(
                self.tool_name,
                "no weights of a translation model are given and Apertium is not installed",
                _REMEDY,
            )
        return program

    def _no_list(self, problem: str) -> ToolUnavailableError:
        return ToolUnavailableError(
            self.tool_name, f"Apertium does not list its pairs ({problem})", _REMEDY
        )

    def _mode_file(self, mode: str) -> Path:
        """Where the pair's pipeline is described, beside the program's other data."""
        prefix = Path(self._program()).resolve().parent.parent
        return prefix / "share" / "apertium" / "modes" / f"{mode}.mode"


def _data_files(mode_file: Path) -> list[Path]:
    """List the file of a mode, and the programs and files that it names, where they are there."""
    if not mode_file.is_file():
        return []
    named = _NAMED.findall(mode_file.read_text(errors="replace"))
    paths = (Path(shutil.which(name) or name) for name in named)
    return [mode_file, *(path for path in paths if path.is_absolute() and path.is_file())]


def _escaped(text: str) -> str:
    """Write a text in Apertium's stream format."""
    return _SPECIAL.sub(r"\\\g<0>", text) + _END_OF_SENTENCE


def _unescaped(output: str) -> str:
    """Read a text from Apertium's stream format."""
    text = output.replace(_END_OF_SENTENCE, "")
    return " ".join(_ESCAPED.sub(r"\1", _NOT_TRANSLATED.sub("", text)).split())


def _complaint(finished: subprocess.CompletedProcess[bytes]) -> str:
    """The status of a program that failed, and the first line of what it said."""
    message = (finished.stderr or finished.stdout).decode(errors="replace").strip()
    return f"status {finished.returncode}: {message.partition(chr(10))[0][:200] or 'nothing said'}"


def run_program(
    arguments: Sequence[str], text: bytes = b"", *, timeout_seconds: float
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end.

    Raises:
        OSError: When it cannot be started.
        ToolTimeoutError: When it took too long; it is ended.
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
                # Before waiting: its number still belongs to it.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(arguments, process.wait(), output, errors)
