"""The file systems that sources lie on: which are accepted, and what a broken one says.

A remote driver raises whatever the libraries below it raise, and may try for minutes. Here all of
that becomes an `OSError` or a `SourceError`, within a minute where the driver is asynchronous.
"""

import errno
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from toolformer.base.foreign_texts import shown
from toolformer.sources.errors import SourceError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# What must be installed for an address that begins so. Others that fsspec knows (archives, chains,
# caches, version control) name no file that stays where it is.
_PACKAGES_OF_SCHEME = {
    "http": "aiohttp",
    "https": "aiohttp",
    "s3": "obstore>=0.12,<0.13",
    "s3a": "obstore>=0.12,<0.13",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "hf": "huggingface_hub",
}
_SCHEME = re.compile(r"([A-Za-z][\w+.-]*):(?://|:.*://)")
_ANSWER_SECONDS = 60.0
_BUFFER_BYTES = 1 << 18


def located(address: str) -> tuple["AbstractFileSystem", str, str | None]:
    """The file system of a path or URI, the path in it, and its kind: file, directory or None.

    Raises:
        SourceError: this kind of address is not supported, its driver is not installed, or there
            is no answer.
    """
    import fsspec

    address = address.removeprefix("file://")
    match = _SCHEME.match(address)
    if match is None:
        local = fsspec.filesystem("file")
        # Not by `url_to_fs`: it takes `data:` and `::` in the name of a file for something else.
        # Not by `Path`, which raises for the home of an unknown user.
        path = Path(os.path.abspath(os.path.expanduser(address))).as_posix()  # noqa: PTH100, PTH111
        kind = "file" if local.isfile(path) else "directory" if local.isdir(path) else None
        return local, path, kind
    package = _PACKAGES_OF_SCHEME.get(match[1])
    if package is None or "::" in address:
        raise SourceError(
            f"The source {address!r} cannot be used: {match[1]}:// is not supported, or not in "
            "this form. Expected a local path or an address that begins with "
            f"{', '.join(f'{scheme}://' for scheme in _PACKAGES_OF_SCHEME)}. "
            "Copy the files here, unpacked."
        )
    with source_errors(address):
        try:
            filesystem, path = _remote(address)
            return filesystem, path, _kind_of(filesystem, path)
        except ImportError as error:
            raise SourceError(
                f"The source {address!r} cannot be opened: {_words(error)}. Expected a local path "
                "or an address whose fsspec driver is installed. Install the driver for "
                f"{match[1]!r} in this environment (`pip install -c requirements.lock '{package}'` "
                "in the clone), or copy the files here."
            ) from error


def is_local(filesystem: "AbstractFileSystem") -> bool:
    """Whether its files lie on this machine."""
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(filesystem, LocalFileSystem)


def open_file(filesystem: "AbstractFileSystem", path: str) -> IO[bytes]:
    """Opens a file for reading; what goes wrong on the way is an `OSError` with a number."""
    if is_local(filesystem):
        return cast("IO[bytes]", filesystem.open(path, "rb"))
    return io.BufferedReader(_RemoteStream(filesystem, path), _BUFFER_BYTES)


@contextmanager
def source_errors(name: str) -> Iterator[None]:
    """Errors of disks and drivers inside the block become a `SourceError` that names the source."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:
        raise unreadable(name, error) from error


def unreadable(name: str, error: Exception) -> SourceError:
    """The error for a file that is there and cannot be read."""
    return SourceError(
        f"The source {name!r} cannot be read: {_words(error)}. Expected a readable file. Check its "
        "permissions and the disk or network it is on, then ingest again."
    )


def _remote(address: str) -> tuple["AbstractFileSystem", str]:
    if address.startswith(("s3://", "s3a://")):
        from toolformer.sources.s3_files import S3FileSystem

        return S3FileSystem(), str(S3FileSystem._strip_protocol(address))
    import fsspec

    # The hub's keeps listings as long as it lives.
    options = {"skip_instance_cache": True} if address.startswith("hf://") else {}
    return fsspec.url_to_fs(address, **options)


def _kind_of(filesystem: "AbstractFileSystem", path: str) -> str | None:
    from fsspec.asyn import AsyncFileSystem, sync
    from fsspec.exceptions import FSTimeoutError

    # Not by `isfile`, which says no where there is no network.
    try:
        if isinstance(filesystem, AsyncFileSystem):
            facts = sync(filesystem.loop, filesystem._info, path, timeout=_ANSWER_SECONDS)
        else:
            facts = filesystem.info(path)
    except FileNotFoundError:
        return None
    except FSTimeoutError as error:
        raise TimeoutError(f"no answer within {_ANSWER_SECONDS:.0f} seconds") from error
    return str(cast("dict[str, Any]", facts)["type"])


def _words(error: Exception) -> str:
    """What an error says, on one line."""
    return shown(error).rstrip(".") or type(error).__name__


class _RemoteStream(io.RawIOBase):
    """A remote file whose errors are `OSError`s with a number, whatever its driver raises."""

    def __init__(self, filesystem: "AbstractFileSystem", path: str) -> None:
        super().__init__()
        with _numbered_errors():
            self._stream = filesystem.open(path, "rb")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._stream.seekable())

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with _numbered_errors():
            content = cast(bytes, self._stream.read(len(buffer)))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        with _numbered_errors():
            return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


@contextmanager
def _numbered_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise OSError(errno.EIO, _words(error)) from error
