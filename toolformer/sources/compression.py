"""Byte streams of plain and compressed files that say so when they end too early or grow too far.

The file name tells the compression.
"""

import io
from collections.abc import Iterator
from typing import IO, Any

from toolformer.sources.errors import DamageError, ExpansionError
from toolformer.sources.members import CODECS, decompressed_members

COMPRESSION_SUFFIXES = tuple(CODECS)

CHUNK_BYTES = 1 << 18
# What a record costs beside its text: in its partition, as a row, in time.
RECORD_BYTES = 500
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

    def __init__(self, stored: IO[bytes], maximum_file_bytes: int | None) -> None:
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

    def __init__(self, chunks: Iterator[bytes | DamageError], allowance: Allowance) -> None:
        super().__init__()
        self._chunks = chunks
        self._rest = memoryview(b"")
        self.allowance = allowance

    def read(self, size: int = CHUNK_BYTES, /) -> bytes:
        """Returns up to `size` bytes; none at the end. Can go on after a DamageError."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            if isinstance(chunk, DamageError):
                raise chunk
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

    It raises DamageError for each damaged place, and goes on at the next member when it is read
    again (`members.py`); EOFError where compressed data stop in the middle, after it has given what
    comes before; and ExpansionError beyond `maximum_file_bytes` (None for `usual_file_bytes`).
    """
    codec = CODECS.get(split_compression(name)[1])
    chunks = _chunks(stream) if codec is None else decompressed_members(stream, codec)
    return ByteStream(chunks, Allowance(stream, maximum_file_bytes))


def _chunks(stream: Any) -> Iterator[bytes]:
    read = getattr(stream, "read1", stream.read)
    while chunk := read(CHUNK_BYTES):
        yield chunk
