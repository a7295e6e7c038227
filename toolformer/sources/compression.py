"""Decompresses files completely, and raises if they are truncated.

fsspec can also infer the codec, but its readers lose data silently. Its Zstandard reader stops
after the first frame and at a truncated frame; its bzip2 and xz readers stop at a damaged second
stream.
"""

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

import zstandard

# Small, because zlib and Zstandard decompress all of their input at once, into up to 32,768 times
# as many bytes.
_INPUT_BYTES = 1 << 11
_OUTPUT_BYTES = 1 << 18
# The default limit of `zstd -d`. With a larger window, a tiny file could demand gigabytes of
# memory.
_ZSTANDARD_WINDOW_BYTES = 1 << 27

_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    ".gz": lambda: zlib.decompressobj(16 + zlib.MAX_WBITS),
    ".bz2": bz2.BZ2Decompressor,
    ".xz": lzma.LZMADecompressor,
    ".zst": lambda: zstandard.ZstdDecompressor(
        max_window_size=_ZSTANDARD_WINDOW_BYTES
    ).decompressobj(),
}
COMPRESSION_SUFFIXES = tuple(_DECOMPRESSORS)


def split_compression(name: str) -> tuple[str, str]:
    """Split a file name into the rest and its compression suffix (empty if it has none)."""
    for suffix in COMPRESSION_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)], suffix
    return name, ""


def decompressed(stream: IO[bytes], name: str) -> io.BufferedReader:
    """Return a stream of decompressed bytes; the suffix of the name selects the codec.

    Reading it raises EOFError if the file is truncated, and the codec's error if it is damaged.
    """
    new_decompressor = _DECOMPRESSORS.get(split_compression(name)[1])
    stored = iter(lambda: stream.read(_OUTPUT_BYTES), b"")
    return io.BufferedReader(
        _ChunkStream(_decompress(stream, new_decompressor) if new_decompressor else stored),
        _OUTPUT_BYTES,
    )


def _decompress(stream: IO[bytes], new_decompressor: Callable[[], Any]) -> Iterator[bytes]:
    """Yield the content of all members; a gzip file, for example, may have several."""
    decompressor, stored = None, b""
    # Zero bytes after a member are padding.
    while stored := stored or stream.read(_INPUT_BYTES):
        if decompressor is None:
            if not (stored := stored.lstrip(b"\0")):
                continue
            decompressor = new_decompressor()
        if isinstance(decompressor, bz2.BZ2Decompressor | lzma.LZMADecompressor):
            yield decompressor.decompress(stored, _OUTPUT_BYTES)
            while not (decompressor.eof or decompressor.needs_input):
                yield decompressor.decompress(b"", _OUTPUT_BYTES)
        else:
            yield decompressor.decompress(stored)
        stored = b""
        if decompressor.eof:
            stored, decompressor = decompressor.unused_data, None
    if decompressor is not None:
        raise EOFError("the compressed data is truncated")


class _ChunkStream(io.RawIOBase):
    """Binary stream that reads from an iterator of byte chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        while not self._rest:
            if (chunk := next(self._chunks, None)) is None:
                return 0
            self._rest = memoryview(chunk)
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size
