"""Raw slices: the records of one shard in one compressed file, written once.

Does not decide what belongs to which shard.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from toolformer.ground.whole_files import flush
from toolformer.sources.compression import ZstandardReader
from toolformer.sources.errors import DamagedRawSliceError, ShardNotFoundError, SliceWriteError
from toolformer.sources.files import unreadable
from toolformer.sources.records import RawRecord
from toolformer.sources.source import RecordLayout

# Part of every slice: a change of the form, or of how records are cut, changes all digests.
SLICE_VERSION = 1
SLICE_SUFFIX = ".jsonl.zst"

_COMPRESSION_LEVEL = 3
_REMEDY = "Delete the file and ingest the source again; the shard keeps its key."


def write_slice(path: Path, layout: RecordLayout, records: Iterable[RawRecord]) -> str:
    """Writes a slice and forces it to the disk.

    The same records give the same digest, and with one version of Zstandard the same bytes.

    Args:
        path: the new file.
        layout: how the records are to be read; stored in front of them.
        records: the shard's records.

    Returns:
        The digest of the uncompressed content, 32 hexadecimal digits.

    Raises:
        SliceWriteError: the file cannot be written; nothing is left of it.
    """
    import zstandard

    digest = hashlib.blake2b(digest_size=16)
    compressor = zstandard.ZstdCompressor(level=_COMPRESSION_LEVEL, write_checksum=True)
    header = {"version": SLICE_VERSION, "layout": layout.facts}
    try:
        with path.open("wb") as file, compressor.stream_writer(file, closefd=False) as writer:
            for content in chain([header], map(asdict, records)):
                # ASCII only: surrogate escapes survive in it.
                line = json.dumps(content, separators=(",", ":")).encode("ascii") + b"\n"
                digest.update(line)
                writer.write(line)
        flush(path)
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise write_error(path, error) from error
    return digest.hexdigest()


def read_slice(path: Path, digest: str) -> Iterator[tuple[RawRecord, RecordLayout]]:
    """Yields the records of a slice with their layout.

    Args:
        path: the slice.
        digest: what `write_slice` returned for it.

    Raises:
        ShardNotFoundError: there is no such file.
        DamagedRawSliceError: it is truncated or altered; raised after the records before.
    """
    seen = hashlib.blake2b(digest_size=16)
    layout: RecordLayout | None = None
    try:
        with path.open("rb") as file, io.BufferedReader(ZstandardReader(file)) as lines:
            for line in lines:
                seen.update(line)
                content = json.loads(line)
                if layout is None:
                    layout = RecordLayout(**content["layout"])
                else:
                    yield RawRecord(**content), layout
    except FileNotFoundError as error:
        raise ShardNotFoundError(
            f"The raw slice {str(path)!r} is missing. Expected the file that ingesting the source "
            "wrote. Ingest the source again; the shard keeps its key."
        ) from error
    except (EOFError, OSError, ValueError, LookupError, TypeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise unreadable(str(path), error) from error
        message = f"The raw slice {str(path)!r} is damaged: {error}. {_REMEDY}"
        raise DamagedRawSliceError(message) from error
    if seen.hexdigest() != digest:
        raise DamagedRawSliceError(
            f"The raw slice {str(path)!r} has the digest {seen.hexdigest()}. Expected {digest}, as "
            f"when it was written. {_REMEDY}"
        )


def write_error(path: Path, error: OSError) -> SliceWriteError:
    """The error for a file of ours that cannot be written."""
    return SliceWriteError(
        f"Cannot write {str(path)!r}: {error.strerror or error}. Expected a writable folder with "
        "room for a compressed copy of the sources. Make room or set TOOLFORMER_HOME to another "
        "disk, then ingest again; what was registered before is intact."
    )
