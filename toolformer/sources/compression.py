"""Byte streams of plain and compressed files that say so when they end too early or grow too far.

Does not guess from the content: the file name decides.
"""

import bz2
import gzip
import io
from dataclasses import dataclass
from typing import IO, cast

from toolformer.sources.errors import ExpansionError

_GZIP, _BZIP2, _ZSTANDARD = ".gz", ".bz2", ".zst"
COMPRESSION_SUFFIXES = (_GZIP, _BZIP2, _ZSTANDARD)

CHUNK_BYTES = 1 << 18
# Zstandard gives all output of its input at once, and makes up to 32,768 bytes of each.
_ZSTANDARD_INPUT_BYTES = 1 << 10
# What `zstd --long=27` writes and `zstd -d` reads; more is memory that a tiny file can ask for.
MAXIMUM_WINDOW_BYTES = 1 << 27
# Web text compresses to a third or a tenth; JSON lines that repeat themselves to a thirtieth.
MAXIMUM_EXPANSION = 200
# A small file may grow as it likes, up to here.
_FREE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class ReadingLimits:
    """How far a stored file may grow when it is read.

    Attributes:
        maximum_expansion: times the bytes stored, beyond the first 64 MiB.
        maximum_file_bytes: bytes read of one file, decompressed; None for any number.
        maximum_window_bytes: memory for the window of a Zstandard file.
    """

    maximum_expansion: int = MAXIMUM_EXPANSION
    maximum_file_bytes: int | None = None
    maximum_window_bytes: int = MAXIMUM_WINDOW_BYTES


class Allowance:
    """Sets what is read of a file against what is stored of it.

    Args:
        limits: how far it may grow.
        stored: bytes known to be stored, where they are not counted as they are read.
    """

    def __init__(self, limits: ReadingLimits, stored: int = 0) -> None:
        self.limits = limits
        self._stored = stored
        self._spent = self._read = 0

    def store(self, count: int) -> None:
        """Notes bytes read as they are stored."""
        self._stored += count

    def read(self, count: int) -> None:
        """Notes bytes read, decompressed.

        Raises:
            ExpansionError: these are too many.
        """
        most = self.limits.maximum_file_bytes
        self._read += count
        if most is not None and self._read > most:
            raise ExpansionError(
                f"It holds more than {most:,} bytes, the most that is read of one file. Raise "
                "maximum_file_bytes of the source if it is to be trusted"
            )
        self.spend(count)

    def spend(self, count: int) -> None:
        """Notes what bytes grow to after they are read.

        Raises:
            ExpansionError: this is too far.
        """
        self._spent += count
        if self._spent > _FREE_BYTES + self.limits.maximum_expansion * self._stored:
            raise ExpansionError(
                f"Its first {self._stored:,} bytes grow to more than {self._spent:,}, over "
                f"{self.limits.maximum_expansion} times as many. Raise maximum_expansion of the "
                "source if it is to be trusted"
            )


def split_compression(name: str) -> tuple[str, str]:
    """Splits a file name into the part without and the suffix of its compression.

    Example:
        >>> split_compression("texts.jsonl.gz")
        ('texts.jsonl', '.gz')
        >>> split_compression("texts.jsonl")
        ('texts.jsonl', '')
    """
    for suffix in COMPRESSION_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)], suffix
    return name, ""


class ByteStream:
    """Reads bytes as soon as there are any.

    The readers of the standard library gather the full number of bytes asked for, and lose what
    they gathered when the data stop in the middle.
    """

    def __init__(self, stream: IO[bytes], allowance: Allowance) -> None:
        self._read = getattr(stream, "read1", stream.read)
        self.allowance = allowance

    def read(self, size: int = CHUNK_BYTES, /) -> bytes:
        """Returns up to `size` bytes; none at the end.

        Raises:
            ExpansionError: the file holds too much.
        """
        chunk = self._read(size)
        self.allowance.read(len(chunk))
        return chunk


class _StoredBytes(io.RawIOBase):
    """A stored file, whose bytes are counted as a decompressor takes them."""

    def __init__(self, stream: IO[bytes], allowance: Allowance) -> None:
        super().__init__()
        self._stream = stream
        self._allowance = allowance

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._stream.read(size)
        self._allowance.store(len(chunk))
        return chunk


def decompressed(
    stream: IO[bytes], name: str, limits: ReadingLimits = ReadingLimits()
) -> ByteStream:
    """Wraps a stream so that it reads decompressed bytes.

    Args:
        stream: the file as stored; stays the caller's to close.
        name: its name, whose last suffix names the compression.
        limits: how far it may grow.

    Returns:
        A stream that raises EOFError where compressed data stop in the middle, after it has given
        everything before; zlib.error, or OSError without a number, where they are damaged; and
        ExpansionError beyond the limits.
    """
    allowance = Allowance(limits)
    stored = cast(IO[bytes], _StoredBytes(stream, allowance))
    suffix = split_compression(name)[1]
    if suffix == _GZIP:
        stored = cast(IO[bytes], gzip.GzipFile(fileobj=stored, mode="rb"))
    elif suffix == _BZIP2:
        stored = cast(IO[bytes], bz2.BZ2File(stored, "rb"))
    elif suffix == _ZSTANDARD:
        reader = ZstandardReader(stored, limits.maximum_window_bytes)
        return ByteStream(io.BufferedReader(reader, CHUNK_BYTES), allowance)
    return ByteStream(stored, allowance)


class ZstandardReader(io.RawIOBase):
    """Decompresses concatenated Zstandard frames.

    The reader of the `zstandard` package takes a truncated file for a short one; this one raises
    EOFError, as gzip and bz2 do.
    """

    def __init__(self, stream: IO[bytes], window_bytes: int = MAXIMUM_WINDOW_BYTES) -> None:
        import zstandard

        super().__init__()
        self._stream = stream
        self._window_bytes = window_bytes
        self._zstandard_error = zstandard.ZstdError
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=window_bytes)
        self._frame = None
        self._input = b""
        self._output = memoryview(b"")

    def readable(self) -> bool:
        """Always True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fills `buffer` and returns the number of bytes; 0 at the end.

        Raises:
            EOFError: the last frame is incomplete.
            ExpansionError: a frame needs a larger window than is allowed.
            OSError: the data are not Zstandard.
        """
        while not self._output:
            if not self._input:
                self._input = self._stream.read(_ZSTANDARD_INPUT_BYTES)
                if not self._input:
                    if self._frame is None:
                        return 0
                    raise EOFError("the Zstandard stream ends in the middle of a frame")
            if self._frame is None:
                self._frame = self._decompressor.decompressobj()
            try:
                self._output = memoryview(self._frame.decompress(self._input))
            except self._zstandard_error as error:
                if "too much memory" in str(error):
                    raise ExpansionError(
                        f"A Zstandard frame needs a window of over {self._window_bytes:,} bytes "
                        "(zstd --long). Raise maximum_window_bytes of the source, up to 2147483648"
                    ) from error
                raise OSError(f"not a Zstandard stream: {error}") from error
            self._input = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = None
        count = min(len(buffer), len(self._output))
        buffer[:count] = self._output[:count]
        self._output = self._output[count:]
        return count
