"""Byte streams of plain and compressed files that say so when they end too early.

Does not guess from the content: the file name decides.
"""

import bz2
import gzip
import io
from typing import IO, cast

_GZIP, _BZIP2, _ZSTANDARD = ".gz", ".bz2", ".zst"
COMPRESSION_SUFFIXES = (_GZIP, _BZIP2, _ZSTANDARD)

CHUNK_BYTES = 1 << 18
# `zstd --long=31` writes frames that need this window.
_LARGEST_WINDOW = 1 << 31


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

    def __init__(self, stream: IO[bytes]) -> None:
        self._read = getattr(stream, "read1", stream.read)

    def read(self, size: int = CHUNK_BYTES, /) -> bytes:
        """Returns up to `size` bytes; none at the end."""
        return self._read(size)


def decompressed(stream: IO[bytes], name: str) -> ByteStream:
    """Wraps a stream so that it reads decompressed bytes.

    Args:
        stream: the file as stored; stays the caller's to close.
        name: its name, whose last suffix names the compression.

    Returns:
        A stream that raises EOFError where compressed data stop in the middle, after it has given
        everything before; zlib.error, or OSError without a number, where they are damaged.
    """
    suffix = split_compression(name)[1]
    if suffix == _GZIP:
        return ByteStream(cast(IO[bytes], gzip.GzipFile(fileobj=stream, mode="rb")))
    if suffix == _BZIP2:
        return ByteStream(cast(IO[bytes], bz2.BZ2File(stream, "rb")))
    if suffix == _ZSTANDARD:
        return ByteStream(io.BufferedReader(ZstandardReader(stream), CHUNK_BYTES))
    return ByteStream(stream)


class ZstandardReader(io.RawIOBase):
    """Decompresses concatenated Zstandard frames.

    The reader of the `zstandard` package takes a truncated file for a short one; this one raises
    EOFError, as gzip and bz2 do.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        import zstandard

        super().__init__()
        self._stream = stream
        self._zstandard_error = zstandard.ZstdError
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
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
            OSError: the data are not Zstandard.
        """
        while not self._output:
            if not self._input:
                self._input = self._stream.read(CHUNK_BYTES)
                if not self._input:
                    if self._frame is None:
                        return 0
                    raise EOFError("the Zstandard stream ends in the middle of a frame")
            if self._frame is None:
                self._frame = self._decompressor.decompressobj()
            try:
                self._output = memoryview(self._frame.decompress(self._input))
            except self._zstandard_error as error:
                raise OSError(f"not a Zstandard stream: {error}") from error
            self._input = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = None
        count = min(len(buffer), len(self._output))
        buffer[:count] = self._output[:count]
        self._output = self._output[count:]
        return count
