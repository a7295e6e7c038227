"""Byte streams of plain and compressed files that say so when they end too early or grow too far.

The file name tells the compression.
"""

import bz2
import gzip
import io
from typing import IO, cast

from toolformer.sources.errors import ExpansionError

_GZIP, _BZIP2, _ZSTANDARD = ".gz", ".bz2", ".zst"
COMPRESSION_SUFFIXES = (_GZIP, _BZIP2, _ZSTANDARD)

CHUNK_BYTES = 1 << 18
# What a record costs beside its text: in its slice, as a row, in time.
RECORD_BYTES = 500
# Zstandard gives all output of its input at once, and makes up to 32,768 bytes of each.
_ZSTANDARD_INPUT_BYTES = 1 << 10
# What `zstd --long=27` writes and `zstd -d` reads; more is memory that a tiny file can ask for.
_ZSTANDARD_WINDOW_BYTES = 1 << 27
# A small file may grow as it likes, up to here.
_FREE_BYTES = 64 << 20
# Web text compresses to a third or a tenth; JSON lines that repeat themselves to a thirtieth.
_USUAL_EXPANSION = 200


def usual_file_bytes(stored: int) -> int:
    """Bytes up to which a file is read where its source does not say; no text is denser.

    Args:
        stored: bytes of the file as it is stored.

    Example:
        >>> usual_file_bytes(1_000_000)
        267108864
    """
    return _FREE_BYTES + _USUAL_EXPANSION * stored


class Allowance:
    """Counts what a file grows to against the most that it may.

    Args:
        stored: the file as stored. What was read of it by then counts as stored.
        maximum_file_bytes: the most; None for what is usual for the bytes stored.
    """

    def __init__(self, stored: IO[bytes], maximum_file_bytes: int | None = None) -> None:
        self._stored = stored
        self._maximum = maximum_file_bytes
        self._spent = 0

    def spend(self, count: int) -> None:
        """Counts bytes that were read, decompressed, or that a record costs beside them.

        Raises:
            ExpansionError: these are too many.
        """
        self.check(count)
        self._spent += count

    def check(self, count: int) -> None:
        """Checks that so many bytes may be read, before they are.

        Raises:
            ExpansionError: they may not.
        """
        most = self._maximum
        if most is None:
            most = usual_file_bytes(self._stored.tell())
        if self._spent + count > most:
            raise ExpansionError(
                f"It grows to {self._spent + count:,} bytes or more. Expected at most {most:,}. "
                "Raise maximum_file_bytes of the source if it is to be trusted"
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


class ByteStream(io.RawIOBase):
    """Reads bytes as soon as there are any.

    The readers of the standard library gather the full number of bytes asked for, and lose what
    they gathered when the data stop in the middle.
    """

    def __init__(self, stream: IO[bytes], allowance: Allowance) -> None:
        super().__init__()
        self._read = getattr(stream, "read1", stream.read)
        self.allowance = allowance

    def read(self, size: int = CHUNK_BYTES, /) -> bytes:
        """Returns up to `size` bytes; none at the end.

        Raises:
            ExpansionError: the file holds too much.
        """
        chunk = self._read(size)
        self.allowance.spend(len(chunk))
        return chunk

    def readable(self) -> bool:
        """Always True."""
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """Fills `buffer` as far as `read` does, for `io.BufferedReader`; returns how far."""
        chunk = self.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)


def decompressed(stream: IO[bytes], name: str, maximum_file_bytes: int | None = None) -> ByteStream:
    """Wraps a stream so that it reads decompressed bytes.

    Args:
        stream: the file as stored; to be closed by the caller.
        name: its name, whose last suffix names the compression.
        maximum_file_bytes: bytes that it may grow to; None for `usual_file_bytes`.

    Returns:
        A stream that raises EOFError where compressed data stop in the middle, after it has given
        what comes before; zlib.error, or OSError without a number, where they are damaged; and
        ExpansionError beyond the limit.
    """
    suffix = split_compression(name)[1]
    content = stream
    if suffix == _GZIP:
        content = gzip.GzipFile(fileobj=stream, mode="rb")
    elif suffix == _BZIP2:
        content = bz2.BZ2File(stream, "rb")
    elif suffix == _ZSTANDARD:
        content = io.BufferedReader(ZstandardReader(stream), CHUNK_BYTES)
    return ByteStream(cast(IO[bytes], content), Allowance(stream, maximum_file_bytes))


class ZstandardReader(io.RawIOBase):
    """Decompresses concatenated Zstandard frames.

    The readers of fsspec and the `zstandard` package take a truncated file for a short one, and
    Arrow's loses what comes just before damage; this one raises EOFError, as gzip and bz2 do, and
    gives all that comes before.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        import zstandard

        super().__init__()
        self._stream = stream
        self._zstandard_error = zstandard.ZstdError
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTANDARD_WINDOW_BYTES)
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
            ExpansionError: a frame needs a window of more than 128 MiB.
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
                        "A Zstandard frame needs a window of over 128 MiB. Compress the file "
                        "again without --long"
                    ) from error
                raise OSError(f"not a Zstandard stream: {error}") from error
            self._input = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = None
        count = min(len(buffer), len(self._output))
        buffer[:count] = self._output[:count]
        self._output = self._output[count:]
        return count
