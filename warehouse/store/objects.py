"""An object store below a URL: files that never change, found by listing their names.

    catalogue/<shard>/<number>.json               a version of a catalogue; the highest one counts
    <table>/shard=<shard>/<partition>-<digest>.parquet      as in the folder of a warehouse
    files/<path>@<number>                         {"files": {"<name within>": "<BLAKE2b digest>"}}
    objects/<first two digits>/<digest>           the bytes of a file
    identity                                      made at random when the store was first used

A name is written once: whoever comes second with `put_new` is refused. A store that does not check
that loses what others wrote, so it is recognised and refused.
"""

import datetime
import functools
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from toolformer.base.constants import INSTALL_EXTRA
from warehouse.errors import StoreConflictError, StoreError

if TYPE_CHECKING:
    import tenacity

_T = TypeVar("_T")
_LOGGER = logging.getLogger(__name__)

_PROBES, _IDENTITY = "probes/", "identity"
# A store that does not answer is asked again for so long: one that restarts is back by then.
PATIENCE_SECONDS = 300.0
# The first answer: an address that is wrong will not come right.
_FIRST_PATIENCE_SECONDS = 30.0
_REQUEST_SECONDS = 60


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as it is listed."""

    path: str
    bytes: int
    written: datetime.datetime


class _UnreachableError(StoreError):
    """No answer, or one that says to try again."""


@functools.cache
def open_store(url: str) -> "ObjectStore":
    """The store of a URL; tried out once a process.

    Raises:
        StoreError: it cannot be reached, or cannot be trusted.
    """
    store = ObjectStore(url)
    store.check()
    return store


class ObjectStore:
    """Objects below a URL.

    Every method raises a StoreError where the store does not answer, or refuses.

    Args:
        url: such as `s3://bucket/prefix`. Credentials and endpoint come from the environment, by
            the names that AWS uses: `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL` ….
        patience: seconds for which a store that does not answer is asked again.

    Raises:
        StoreError: the package for object stores is missing, or the URL is none.
    """

    def __init__(self, url: str, *, patience: float = PATIENCE_SECONDS):
        self.url = url
        self._patience = patience
        self._store = _opened(url)

    def check(self) -> None:
        """Refuses a store that cannot be reached, or that lets a name be written twice.

        Raises:
            StoreError: with what is wrong.
        """
        path = f"{_PROBES}{secrets.token_hex(8)}"
        patience = min(self._patience, _FIRST_PATIENCE_SECONDS)

        def put() -> None:
            self._retried(lambda: self._store.put(path, b"", mode="create"), patience)

        put()
        try:
            put()
        except StoreConflictError:
            return
        finally:
            self.remove([path])
        raise StoreError(
            f"The object store {self.url!r} ignores the condition of a put (If-None-Match): two "
            "machines would overwrite each other's results without a word. Expected a store with "
            "conditional writes, such as Amazon S3, MinIO, Ceph from Squid on, or Cloudflare R2. "
            "Use another, or a shared folder."
        )

    def identity(self) -> str:
        """Two lines, the URL and what tells this store from another one that stood there before.

        Versions are numbered anew in a store that was emptied, so copies of the one before would
        count as copies of it.
        """
        while (found := self.read(_IDENTITY)) is None:
            with suppress(StoreConflictError):
                self.put_new(_IDENTITY, secrets.token_hex(8).encode())
        return f"{self.url}\n{found.decode(errors='replace')}"

    def listed(self, folder: str = "") -> list[StoredObject]:
        """All objects below a folder, by path."""

        def listed() -> list[StoredObject]:
            return [
                StoredObject(meta["path"], meta["size"], meta["last_modified"])
                for chunk in self._store.list(prefix=folder or None)
                for meta in chunk
            ]

        return sorted(self._retried(listed), key=lambda stored: stored.path)

    def put_new(self, path: str, content: bytes) -> None:
        """Writes an object whose name nobody has written yet.

        Raises:
            StoreConflictError: it is there, with other content.
        """
        try:
            self._retried(lambda: self._store.put(path, content, mode="create"))
        except StoreConflictError:
            # A put whose answer was lost is sent again, and then refused for its own sake.
            if self.read(path) != content:
                raise

    def put_file(self, file: Path, path: str) -> None:
        """Writes the bytes of a file.

        An object that is there already is written again: its time is that of its last use then,
        which `sweep` goes by.
        """
        self._retried(lambda: self._store.put(path, file))

    def read(self, path: str) -> bytes | None:
        """The bytes of a small object; None where there is none."""

        def get() -> bytes | None:
            try:
                return bytes(self._store.get(path).bytes())
            except FileNotFoundError as error:
                _check_bucket(error, self.url)
                return None

        return self._retried(get)

    def fetch(self, path: str, target: Path) -> None:
        """Writes an object into a new file.

        Raises:
            FileNotFoundError: there is no such object.
            OSError: the disk refused.
        """

        def get() -> None:
            with target.open("wb") as file:
                for chunk in self._store.get(path).stream():
                    file.write(chunk)

        self._retried(get)

    def remove(self, paths: list[str]) -> None:
        """Removes objects, as far as they are there."""

        def delete() -> None:
            try:
                self._store.delete(paths)
            except FileNotFoundError as error:
                _check_bucket(error, self.url)

        if paths:
            self._retried(delete)

    def conflict(self, name: str) -> StoreConflictError:
        """The error of whoever comes second."""
        return StoreConflictError(
            f"'{name}' in {self.url!r} was written by another machine while this one worked on "
            "it. What that one wrote stands. Run the same again; what is up to date is kept."
        )

    def _retried(self, request: Callable[[], _T], patience: float | None = None) -> _T:
        """The answer to a request, which is made again while the store does not answer."""
        import tenacity

        def tell(state: "tenacity.RetryCallState") -> None:
            if state.attempt_number == 1 and state.outcome is not None:
                _LOGGER.warning("%s Asking again.", state.outcome.exception())

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_UnreachableError),
            wait=tenacity.wait_exponential(multiplier=0.2, max=10.0),
            stop=tenacity.stop_after_delay(self._patience if patience is None else patience),
            before_sleep=tell,
            reraise=True,
        )

        def once() -> _T:
            with _explained_errors(self.url):
                return request()

        return retrying(once)


def _opened(url: str) -> Any:
    try:
        import obstore.exceptions
        import obstore.store
    except ImportError as error:
        raise StoreError(
            f"TOOLFORMER_STORE is {url!r}, and the package `obstore`, which speaks to object "
            f"stores, is not installed. Run `{INSTALL_EXTRA.format('s3')}` in the clone."
        ) from error
    seconds = datetime.timedelta(seconds=1)
    try:
        return obstore.store.from_url(
            url,
            # Our own repeats say what they wait for.
            retry_config={"max_retries": 1, "retry_timeout": 5 * seconds},
            client_options={
                "timeout": _REQUEST_SECONDS * seconds,
                "connect_timeout": 5 * seconds,
                # An endpoint that is written with http:// is meant so.
                "allow_http": os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"),
            },
        )
    except (obstore.exceptions.BaseError, ValueError) as error:
        raise StoreError(
            f"TOOLFORMER_STORE is {url!r}, which is no address of an object store: {error}. "
            "Expected one such as s3://bucket/prefix."
        ) from error


@contextmanager
def _explained_errors(url: str) -> Iterator[None]:
    """Errors of the store become ours, each with what to do about it."""
    from obstore import exceptions

    try:
        yield
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as error:
        raise StoreConflictError(str(error)) from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise StoreError(_refusal(url, str(error))) from error
    except FileNotFoundError as error:
        _check_bucket(error, url)
        raise
    except exceptions.BaseError as error:
        text = str(error)
        # Without credentials the client asks the machine's metadata service for some.
        if "RequestTimeTooSkewed" in text or "169.254.169.254" in text:
            raise StoreError(_refusal(url, text)) from error
        raise _UnreachableError(
            f"The object store {url!r} does not answer: {_first_sentence(text)}. Check "
            "AWS_ENDPOINT_URL, the network and the store. What was published is kept."
        ) from error


def _refusal(url: str, text: str) -> str:
    return (
        f"The object store {url!r} refuses access: {_first_sentence(text)}. Expected credentials "
        "that may read, write, list and delete there, in AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or of the machine's role, and a clock that is right."
    )


def _check_bucket(error: Exception, url: str) -> None:
    if "NoSuchBucket" in str(error):
        raise StoreError(
            f"There is no bucket for {url!r}. Make it, or correct TOOLFORMER_STORE."
        ) from error


def _first_sentence(text: str) -> str:
    line = text.partition("\n")[0].strip()
    return line[:300].rstrip(".")
