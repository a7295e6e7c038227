"""The file systems that sources lie on: which are accepted, and what a broken one says.

A remote driver raises whatever the libraries below it raise, and may try for minutes. Here all of
that becomes an `OSError` or a `SourceError`, within a minute. Does not know what a source is.
"""

import errno
import io
import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

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
    "memory": "fsspec",
}
_SCHEME = re.compile(r"([A-Za-z][\w+.-]*):(?://|:.*://)")
_ANSWER_SECONDS = 60.0
_BUFFER_BYTES = 1 << 18
_LONGEST_REASON = 300

Answer = TypeVar("Answer")


def located(address: str) -> tuple["AbstractFileSystem", str, str | None]:
    """Where an address leads.

    Args:
        address: a local path, or a URI.

    Returns:
        The file system, the path in it, and what lies there: file, directory, or None for nothing.

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
        return local, path, _kind_of_local(local, path)
    package = _PACKAGES_OF_SCHEME.get(match[1])
    if package is None or "::" in address:
        raise SourceError(
            f"The source {address!r} cannot be used: {match[1]}:// is not supported, or not in "
            "this form. Expected a local path or an address that begins with "
            f"{', '.join(scheme + '://' for scheme in _PACKAGES_OF_SCHEME if scheme != 'memory')}. "
            "Copy the files here, unpacked."
        )
    with errors_told(address):
        try:
            return _within(_ANSWER_SECONDS, lambda: _look_up(address))
        except ImportError as error:
            raise SourceError(
                f"The source {address!r} cannot be opened: {_words(error)}. Expected a local path "
                "or an address whose fsspec driver is installed. Install the driver for "
                f"{match[1]!r} in this environment (`pip install '{package}'`), or copy the files "
                "here."
            ) from error


def is_local(filesystem: "AbstractFileSystem") -> bool:
    """Whether its files lie on this machine."""
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(filesystem, LocalFileSystem)


def is_in_s3(filesystem: "AbstractFileSystem") -> bool:
    """Whether its files lie in an S3 store, which gives each version of one an ETag."""
    return filesystem.protocol == "s3"


def open_file(filesystem: "AbstractFileSystem", path: str) -> IO[bytes]:
    """Opens a file for reading; what goes wrong on the way is an `OSError` with a number."""
    if is_local(filesystem):
        return cast("IO[bytes]", filesystem.open(path, "rb"))
    return io.BufferedReader(_RemoteStream(filesystem, path), _BUFFER_BYTES)


@contextmanager
def errors_told(name: str) -> Iterator[None]:
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


def _kind_of_local(filesystem: "AbstractFileSystem", path: str) -> str | None:
    if filesystem.isfile(path):
        return "file"
    return "directory" if filesystem.isdir(path) else None


def _look_up(address: str) -> tuple["AbstractFileSystem", str, str | None]:
    filesystem, path = _file_system_of(address)
    try:
        # Not by `isfile`, which says no where there is no network.
        return filesystem, path, str(filesystem.info(path)["type"])
    except FileNotFoundError:
        return filesystem, path, None


def _file_system_of(address: str) -> tuple["AbstractFileSystem", str]:
    if address.startswith(("s3://", "s3a://")):
        from toolformer.sources.s3_files import S3FileSystem

        return S3FileSystem(), str(S3FileSystem._strip_protocol(address))
    import fsspec

    return fsspec.url_to_fs(address)


def _within(seconds: float, ask: Callable[[], Answer]) -> Answer:
    """The answer; a driver that is still trying by then is left to itself."""
    future: Future[Answer] = Future()

    def work() -> None:
        try:
            future.set_result(ask())
        except Exception as error:  # noqa: BLE001  (raised again by `result`)
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        return future.result(timeout=seconds)
    except TimeoutError as error:
        raise OSError(errno.ETIMEDOUT, f"no answer within {seconds:.0f} seconds") from error


def _words(error: Exception) -> str:
    """What an error says, on one line."""
    text = " ".join(str(error).split()).rstrip(".")
    short = text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + " …"
    return short or type(error).__name__


class _RemoteStream(io.RawIOBase):
    """A remote file whose errors are `OSError`s with a number, whatever its driver raises."""

    def __init__(self, filesystem: "AbstractFileSystem", path: str) -> None:
        super().__init__()
        self._stream = _as_os_error(filesystem.open, path, "rb")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._stream.seekable())

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        content = _as_os_error(self._stream.read, len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return _as_os_error(self._stream.seek, offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


def _as_os_error(work: Callable[..., Any], *arguments: object) -> Any:
    try:
        return work(*arguments)
    except Exception as error:
        raise OSError(errno.EIO, _words(error)) from error
