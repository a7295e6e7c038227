"""Byte streams of plain and compressed files that say so when they end too early or grow too far.

The file name tells the compression.
"""

import bz2
import gzip
import io
from collections.abc import Iterator
from typing import IO, Any

from toolformer.sources.errors import ExpansionError

_GZIP, _BZIP2, _ZSTANDARD = ".gz", ".bz2", ".zst"
COMPRESSION_SUFFIXES = (_GZIP, _BZIP2, _ZSTANDARD)

CHUNK_BYTES = 1 << 18
# What a record costs beside its text: in its partition, as a row, in time.
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
    """Bytes that a file of so many may grow to where its source does not say; no text is denser."""
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
        """Counts bytes that were read, or that a record costs beside them; see `check`."""
        self.check(count)
        self._spent += count

    def check(self, count: int) -> None:
        """Checks that so many further bytes may be read, before they are.

        Raises:
            ExpansionError: they may not.
        """
        maximum = self._maximum
        if maximum is None:
            maximum = usual_file_bytes(self._stored.tell())
        if self._spent + count > maximum:
            raise ExpansionError(
                f"It grows to {self._spent + count:,} bytes or more. Expected at most {maximum:,}. "
                "Raise maximum_file_bytes of the source if it is to be trusted"
            )


def split_compression(name: str) -> tuple[str, str]:
    """Splits a file name into the part without and the suffix of its compression, or nothing."""
    for suffix in COMPRESSION_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)], suffix
    return name, ""


class ByteStream(io.RawIOBase):
    """Reads bytes as soon as there are any.

    The readers of the standard library gather the full number of bytes asked for, and lose what
    they gathered when the data stop in the middle.
    """

    def __init__(self, chunks: Iterator[bytes], allowance: Allowance) -> None:
        super().__init__()
        self._chunks = chunks
        self._rest = memoryview(b"")
        self.allowance = allowance

    def read(self, size: int = CHUNK_BYTES, /) -> bytes:
        """Returns up to `size` bytes; none at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = memoryview(chunk)
        piece, self._rest = bytes(self._rest[:size]), self._rest[size:]
        self.allowance.spend(len(piece))
        return piece

    def readable(self) -> bool:
        """Always True."""
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """Fills `buffer` as far as `read` does, for `io.BufferedReader`; returns how far."""
        chunk = self.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)


def decompressed(stream: IO[bytes], name: str, maximum_file_bytes: int | None = None) -> ByteStream:
    """A stream of the decompressed bytes of a stored file, whose last suffix names the compression.

    It raises EOFError where compressed data stop in the middle, after it has given what comes
    before; zlib.error, or OSError without a number, where they are damaged; and ExpansionError
    beyond `maximum_file_bytes` (None for `usual_file_bytes`).
    """
    suffix = split_compression(name)[1]
    if suffix == _ZSTANDARD:
        chunks = _zstandard_chunks(stream)
    elif suffix == _GZIP:
        chunks = _chunks(gzip.GzipFile(fileobj=stream, mode="rb"))
    elif suffix == _BZIP2:
        chunks = _chunks(bz2.BZ2File(stream, "rb"))
    else:
        chunks = _chunks(stream)
    return ByteStream(chunks, Allowance(stream, maximum_file_bytes))


def _chunks(stream: Any) -> Iterator[bytes]:
    read = getattr(stream, "read1", stream.read)
    while chunk := read(CHUNK_BYTES):
        yield chunk


def _zstandard_chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """Decompresses concatenated Zstandard frames.

    The readers of fsspec and the `zstandard` package take a truncated file for a short one, and
    Arrow's loses what comes just before damage; this one raises EOFError, as gzip and bz2 do.
    """
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTANDARD_WINDOW_BYTES)
    frame = None
    while stored := stream.read(_ZSTANDARD_INPUT_BYTES):
        while stored:
            frame = frame or decompressor.decompressobj()
            try:
                yield frame.decompress(stored)
            except zstandard.ZstdError as error:
                if "too much memory" in str(error):
                    raise ExpansionError(
                        "A Zstandard frame needs a window of over 128 MiB. Compress the file "
                        "again without --long"
                    ) from error
                raise OSError(f"not a Zstandard stream: {error}") from error
            stored = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError("the Zstandard stream ends in the middle of a frame")
