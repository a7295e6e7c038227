"""Decompresses files member by member, so that damage costs no more than the member it is in.

A gzip file may hold several members (web archives: one for each record), a bzip2 file several
streams (multistream dumps), a Zstandard file several frames. All are called members here.
"""

import bz2
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

from toolformer.sources.errors import DamageError, ExpansionError

# Zlib and Zstandard give all output of their input at once, and make up to 32,768 bytes of each.
_INPUT_BYTES = 1 << 10
# Of bzip2, whose blocks grow further.
_OUTPUT_BYTES = 1 << 18
# What `zstd --long=27` writes and `zstd -d` reads; more is memory that a tiny file can ask for.
_ZSTANDARD_WINDOW_BYTES = 1 << 27
# Of a small member nothing is given before its checksum is known to match.
_HELD_BYTES = 1 << 20
# A damaged member can be read past its end: so far back the next one is looked for.
_PIECES_KEPT = 64
_LONGEST_START = 10


class Codec(NamedTuple):
    """A kind of compression: what begins a decompressor, and the bytes that begin a member."""

    name: str
    begin: Callable[[], Any]
    start: re.Pattern[bytes]


def _zstandard() -> Any:
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=_ZSTANDARD_WINDOW_BYTES).decompressobj()


CODECS = {
    ".gz": Codec(
        "gzip",
        lambda: zlib.decompressobj(16 + zlib.MAX_WBITS),
        re.compile(rb"\x1f\x8b\x08[\x00-\x1f].{4}[\x00\x02\x04][\x00-\x0d\xff]", re.DOTALL),
    ),
    ".bz2": Codec("bzip2", bz2.BZ2Decompressor, re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P)")),
    ".zst": Codec("Zstandard", _zstandard, re.compile(rb"\x28\xb5\x2f\xfd")),
}
"""By the suffix of file names."""


def decompressed_members(stream: IO[bytes], codec: Codec) -> Iterator[bytes | DamageError]:
    """Yields the content of all members; after damage an error, then that of the next member.

    Of a damaged member comes what is before the damage; nothing, where only its checksum shows the
    damage and it holds at most 1 MiB. Zero bytes between members are padding.

    Raises:
        EOFError: the last member stops in the middle; what is there came.
        ExpansionError: a Zstandard frame needs too much memory.
    """
    damage: DamageError | None = None
    stored = b""
    while stored := stored.lstrip(b"\0") or stream.read(_INPUT_BYTES):
        if stored.startswith(b"\0"):
            continue
        member = _Member(stream, codec, stored)
        for content in member.content():
            if damage is not None:
                yield damage
                damage = None
            yield content
        stored = member.rest
        if isinstance(member.error, EOFError) and not stored:
            if damage is not None:
                yield damage
            raise member.error
        if member.error is not None:
            # What looked like a member in the middle of damage, and is none, adds to it.
            skipped = member.skipped + (damage.skipped if damage else 0)
            damage = DamageError(str((damage or member.error).args[0]), skipped)
    if damage is not None:
        yield damage


class _Member:
    """One member.

    Attributes:
        rest: stored bytes that were read and belong to what follows it.
        error: why it cannot be read to its end.
        skipped: stored bytes that gave nothing, up to the next member or the end of the file.
    """

    def __init__(self, stream: IO[bytes], codec: Codec, stored: bytes) -> None:
        self._stream, self._codec = stream, codec
        self.rest, self.skipped = stored, 0
        self.error: Exception | None = None

    def content(self) -> Iterator[bytes]:
        """Yields the content; afterwards the attributes are known."""
        import zstandard

        recent = deque[bytes](maxlen=_PIECES_KEPT)
        held: list[bytes] | None = []
        size = read = good = 0
        try:
            decompressor = self._codec.begin()
            while not decompressor.eof:
                piece = self.rest or self._stream.read(_INPUT_BYTES)
                self.rest = b""
                if not piece:
                    raise EOFError("the compressed file ends in the middle of a frame or member")
                recent.append(piece)
                read += len(piece)
                for content in _outputs(decompressor, piece):
                    if held is None:
                        yield content
                        continue
                    held.append(content)
                    size += len(content)
                    if size > _HELD_BYTES:
                        yield b"".join(held)
                        held = None
                good = read
            self.rest = decompressor.unused_data
        except (EOFError, OSError, ValueError, zlib.error, zstandard.ZstdError) as error:
            _raise_again(error)
            is_other = len(recent) == 1 and not self._codec.start.match(recent[0])
            self.error = _explained(error, self._codec.name, is_other, held is None)
            # "incorrect data check", "doesn't match checksum": the damage can be anywhere.
            if held is not None and (not size or "check" in str(error)):
                held, good = [], 0
            self._find_next(b"".join(recent), read, good)
        if held and size:
            yield b"".join(held)

    def _find_next(self, recent: bytes, read: int, good: int) -> None:
        """Looks for the start of the next member in what was read last and in what follows."""
        # The start of this member does not count.
        found = self._codec.start.search(recent, 1 if len(recent) == read else 0)
        while found is None and (more := self._stream.read(_INPUT_BYTES)):
            recent = recent[-_LONGEST_START:] + more
            read += len(more)
            found = self._codec.start.search(recent, 1 if len(recent) == read else 0)
        end = read if found is None else read - len(recent) + found.start()
        self.skipped = end - good if end > good else end
        self.rest = b"" if found is None else recent[found.start() :]


def _explained(error: Exception, kind: str, is_other: bool, is_given: bool) -> Exception:
    if isinstance(error, EOFError):
        return error
    if is_other:
        return OSError(f"it is not {kind} ({error})")
    if is_given and "check" in str(error):
        return OSError(f"{error}: some of what was read before it, of the same member, is wrong")
    return error


def _raise_again(error: Exception) -> None:
    """Raises what is no damage: errors of the disk, and memory that is refused."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error
    if "too much memory" in str(error):
        raise ExpansionError(
            "A Zstandard frame needs a window of over 128 MiB. Compress the file again without "
            "--long"
        ) from error


def _outputs(decompressor: Any, piece: bytes) -> Iterator[bytes]:
    if not isinstance(decompressor, bz2.BZ2Decompressor):
        yield decompressor.decompress(piece)
        return
    yield decompressor.decompress(piece, _OUTPUT_BYTES)
    while not (decompressor.needs_input or decompressor.eof):
        yield decompressor.decompress(b"", _OUTPUT_BYTES)
