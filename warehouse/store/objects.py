"""An object store: contents that never change, and pointers that say which of them a place has.

    objects/<first two digits>/<BLAKE2b digest>    the bytes of a file
    places/<place>                                 {"files": {"<name>": "<digest>"}, "swap": …}

A pointer is swapped by a conditional put: whoever has not seen its newest state is refused. A
store that does not check the condition loses what others wrote, so it is recognised and refused.
Does not know what a place is; `mirror.py` does.
"""

import datetime
import json
import logging
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import tenacity

from toolformer.ground.digests import hex_digest_of_file
from toolformer.ground.whole_files import flush
from warehouse.errors import StoreConflictError, StoreError

_T = TypeVar("_T")
_LOGGER = logging.getLogger(__name__)

_DIGEST_BYTES = 32
_OBJECTS, _PLACES, _PROBES = "objects/", "places/", "probes/"
# A store that does not answer is asked again for so long: one that restarts is back by then.
PATIENCE_SECONDS = 300.0
# The first answer: an address that is wrong will not come right.
_FIRST_PATIENCE_SECONDS = 30.0
_REQUEST_SECONDS = 60
_EXTRA = "pip install 'obstore>=0.12,<0.13'"


@dataclass(frozen=True, slots=True)
class Pointer:
    """What a place has.

    Attributes:
        files: the BLAKE2b digest of each file's bytes, by the file's name within the place.
        tag: the store's mark of this state of the pointer (ETag).
        swap: the mark of the swap that wrote it; no two are the same.
    """

    files: Mapping[str, str]
    tag: str
    swap: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as it is listed."""

    path: str
    bytes: int
    written: datetime.datetime


class _UnreachableError(StoreError):
    """No answer, or one that says to try again."""


class ObjectStore:
    """Objects and pointers below a URL.

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
        """Refuses a store that cannot be reached, or that ignores the condition of a put.

        Raises:
            StoreError: with what is wrong.
        """
        import obstore

        path = f"{_PROBES}{secrets.token_hex(8)}"
        patience = min(self._patience, _FIRST_PATIENCE_SECONDS)

        def put(mode: Any) -> Any:
            return self._asked(lambda: obstore.put(self._store, path, b"", mode=mode), patience)

        put("create")
        try:
            for mode in ("create", {"e_tag": '"0123456789abcdef0123456789abcdef"'}):
                try:
                    put(mode)
                except StoreConflictError:
                    continue
                raise StoreError(
                    f"The object store {self.url!r} ignores the condition of a put (If-None-Match "
                    "or If-Match): two machines would overwrite each other's results without a "
                    "word. Expected a store with conditional writes, such as Amazon S3, MinIO, "
                    "Ceph from Squid on, or Cloudflare R2. Use another, or a shared folder."
                )
        finally:
            self._asked(lambda: obstore.delete(self._store, path))

    def pointer(self, place: str) -> Pointer | None:
        """What a place has; None where it has nothing.

        Raises:
            StoreError: the store does not answer, or the pointer is none of ours.
        """
        import obstore

        def get() -> tuple[bytes, str] | None:
            try:
                result = obstore.get(self._store, _PLACES + place)
                return bytes(result.bytes()), result.meta["e_tag"] or ""
            except FileNotFoundError as error:
                _check_bucket(error, self.url)
                return None

        found = self._asked(get)
        if found is None:
            return None
        content, tag = found
        try:
            stored = json.loads(content)
            files = {str(name): str(digest) for name, digest in stored["files"].items()}
            return Pointer(files, tag, stored["swap"])
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise StoreError(
                f"'{_PLACES}{place}' in {self.url!r} is not what this project wrote there: "
                f"{error}. Remove that object, then build again what it stood for."
            ) from error

    def tags(self, prefix: str = "") -> dict[str, str]:
        """The marks of all pointers whose places begin so, by place."""
        return {
            meta["path"].removeprefix(_PLACES): meta["e_tag"] or ""
            for meta in self._listed(_PLACES + prefix)
        }

    def swap(self, place: str, files: Mapping[str, str], expected: str | None) -> str:
        """Gives a place other files, if its pointer is as it was seen.

        Args:
            place: whose.
            files: see `Pointer`; the objects are there.
            expected: the mark that was seen; None where there was no pointer.

        Returns:
            The new mark.

        Raises:
            StoreConflictError: another wrote it meanwhile; nothing has changed.
            StoreError: the store does not answer.
        """
        import obstore

        swap = secrets.token_hex(8)
        content = json.dumps({"files": dict(files), "swap": swap}, sort_keys=True).encode()
        mode: Any = "create" if expected is None else {"e_tag": expected}
        try:
            result = self._asked(
                lambda: obstore.put(
                    self._store, _PLACES + place, content, mode=mode, use_multipart=False
                )
            )
            return result["e_tag"] or ""
        except StoreConflictError as error:
            # A put whose answer was lost is sent again, and then refused for its own sake.
            now = self.pointer(place)
            if now is not None and now.swap == swap:
                return now.tag
            raise StoreConflictError(
                f"'{place}' in {self.url!r} was written by another machine while this one worked "
                "on it. What that one wrote stands. Run the same again; what is up to date is kept."
            ) from error

    def remove(self, place: str) -> None:
        """Removes a pointer; its objects stay until they are swept."""
        import obstore

        def delete() -> None:
            try:
                obstore.delete(self._store, _PLACES + place)
            except FileNotFoundError as error:
                _check_bucket(error, self.url)

        self._asked(delete)

    def put_file(self, path: Path, there: Collection[str] = ()) -> str:
        """Stores the bytes of a file; returns their BLAKE2b digest.

        Args:
            path: the file.
            there: digests that need not be stored again.

        An object that is there already is written again: its time is that of its last use then,
        which `sweep` goes by.
        """
        import obstore

        digest = hex_digest_of_file(path, size=_DIGEST_BYTES)
        if digest not in there:
            self._asked(lambda: obstore.put(self._store, _object_path(digest), path))
        return digest

    def fetch(self, digest: str, target: Path) -> None:
        """Writes an object into a new file.

        Raises:
            StoreError: the object is missing, or is not what was stored.
            OSError: the disk refused.
        """
        import obstore

        def get() -> None:
            try:
                stream = obstore.get(self._store, _object_path(digest)).stream()
            except FileNotFoundError as error:
                _check_bucket(error, self.url)
                raise StoreError(
                    f"The object '{_object_path(digest)}' is missing in {self.url!r}, though a "
                    "pointer names it: something else removed it. Put it back from a copy, or "
                    f"remove the pointer of '{target.name}' and build again what it stood for."
                ) from error
            with target.open("wb") as file:
                for chunk in stream:
                    file.write(chunk)

        self._asked(get)
        if hex_digest_of_file(target, size=_DIGEST_BYTES) != digest:
            target.unlink(missing_ok=True)
            raise StoreError(
                f"The object '{_object_path(digest)}' in {self.url!r} is not what was stored: its "
                "bytes have another digest. Remove it and what points to it, then build that again."
            )
        flush(target)

    def objects(self) -> Iterator[StoredObject]:
        """All contents, whether or not a pointer names them."""
        for meta in self._listed(_OBJECTS):
            yield StoredObject(meta["path"], meta["size"], meta["last_modified"])

    def now(self) -> datetime.datetime:
        """The time by the clock of the store, which `StoredObject.written` goes by."""
        import obstore

        path = f"{_PROBES}{secrets.token_hex(8)}"

        def told() -> datetime.datetime:
            obstore.put(self._store, path, b"")
            try:
                return obstore.head(self._store, path)["last_modified"]
            finally:
                obstore.delete(self._store, path)

        return self._asked(told)

    def remove_objects(self, paths: list[str]) -> None:
        """Removes contents that nothing refers to."""
        import obstore

        if paths:
            self._asked(lambda: obstore.delete(self._store, paths))

    def _listed(self, prefix: str) -> list[Any]:
        import obstore

        # The store lists by whole names, and the last of the prefix may be a part of one.
        folder = prefix.rpartition("/")[0]

        def listed() -> list[Any]:
            return [
                meta
                for chunk in obstore.list(self._store, prefix=f"{folder}/")
                for meta in chunk
                if meta["path"].startswith(prefix)
            ]

        return self._asked(listed)

    def _asked(self, request: Callable[[], _T], patience: float | None = None) -> _T:
        """The answer to a request, which is made again while the store does not answer."""

        def tell(state: tenacity.RetryCallState) -> None:
            if state.attempt_number == 1 and state.outcome is not None:
                _LOGGER.warning("%s Asking again.", state.outcome.exception())

        asked = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_UnreachableError),
            wait=tenacity.wait_exponential(multiplier=0.2, max=10.0),
            stop=tenacity.stop_after_delay(self._patience if patience is None else patience),
            before_sleep=tell,
            reraise=True,
        )

        def once() -> _T:
            with _told(self.url):
                return request()

        return asked(once)


def _object_path(digest: str) -> str:
    return f"{_OBJECTS}{digest[:2]}/{digest}"


def digest_in(path: str) -> str:
    """The BLAKE2b digest in the path of an object."""
    return path.rpartition("/")[2]


def _opened(url: str) -> Any:
    try:
        import obstore.exceptions
        import obstore.store
    except ImportError as error:
        raise StoreError(
            f"TOOLFORMER_STORE is {url!r}, and the package `obstore`, which speaks to object "
            f"stores, is not installed. Run `{_EXTRA}`."
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
def _told(url: str) -> Iterator[None]:
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
    if "RequestTimeTooSkewed" in text:
        return (
            f"The object store {url!r} refuses requests because the clock of this machine is wrong "
            "by more than it allows. Set the clock (NTP), then run the same again."
        )
    return (
        f"The object store {url!r} refuses access: {_first_sentence(text)}. Expected credentials "
        "that may read, write, list and delete there, in AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or of the machine's role."
    )


def _check_bucket(error: Exception, url: str) -> None:
    if "NoSuchBucket" in str(error):
        raise StoreError(
            f"There is no bucket for {url!r}. Make it, or correct TOOLFORMER_STORE."
        ) from error


def _first_sentence(text: str) -> str:
    line = text.partition("\n")[0].strip()
    return line[:300].rstrip(".")
