"""Files in S3 stores, as fsspec sees them, with errors in words.

From open to close all bytes are of one version. Credentials, region and endpoint are obstore's own:
`AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT_URL` and so on, or the machine's role. Needs
obstore, which is optional: to be imported where an address begins with `s3://`. Writes nothing.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import obstore
from fsspec.spec import AbstractBufferedFile
from obstore.exceptions import (
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.fsspec import FsspecStore

# How long a store that does not answer is asked again, before the source counts as unreadable.
RETRY_SECONDS = 30.0
_REQUEST_SECONDS, _CONNECT_SECONDS = 30, 5
_CODE = re.compile(r"<Code>(\w+)</Code>(?:\s*<Message>([^<]*)</Message>)?")
# Asked by obstore where the environment has no credentials: on Amazon's machines it knows a role.
_METADATA_SERVICE = "169.254.169.254"
_ENVIRONMENT = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, where there is one, AWS_SESSION_TOKEN"


class S3Error(Exception):
    """What a store answered, or that it did not, in words."""


class S3FileSystem(FsspecStore):
    """Files by `bucket/key`; a prefix is a folder."""

    protocol = ("s3", "s3a")
    # The environment may have changed since the last one.
    cachable = False

    def __init__(self) -> None:
        super().__init__(
            "s3",
            client_options={
                # For an endpoint of one's own that begins with http://; Amazon's are https anyway.
                "allow_http": True,
                "timeout": timedelta(seconds=_REQUEST_SECONDS),
                "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
            },
            retry_config={"retry_timeout": timedelta(seconds=RETRY_SECONDS)},
        )

    async def _info(self, path: str, **settings: Any) -> dict[str, Any]:
        bucket, key = self._split_path(path)
        if not key.strip("/"):
            # A bucket is a folder, and an empty one is there as well.
            with suppress(FileNotFoundError):
                await self._ls(path, detail=True)
            return {"name": path, "size": 0, "type": "directory"}
        with _errors_in_words(bucket):
            return await super()._info(path, **settings) | {"name": path}

    async def _ls(self, path: str, detail: bool = False, **settings: Any) -> Any:
        with _errors_in_words(self._split_path(path)[0]):
            return await super()._ls(path, detail=detail, **settings)

    def _open(self, path: str, mode: str = "rb", **_settings: Any) -> "_PinnedFile":  # type: ignore[override]
        return _PinnedFile(self, path, mode)

    def read_range(self, path: str, start: int, end: int, version: str | None) -> bytes:
        """Bytes of a file, as long as it is the version of this ETag.

        Raises:
            S3Error: it is not, or the store does not give them.
        """
        bucket, key = self._split_path(path)
        with _errors_in_words(bucket):
            try:
                found = obstore.get(
                    self._construct_store(bucket),
                    key,
                    options={"range": (start, end), "if_match": version},
                )
                return found.bytes().to_bytes()
            except FileNotFoundError as error:
                raise S3Error("it was deleted while it was read") from error


class _PinnedFile(AbstractBufferedFile):
    """A file of which all bytes are of the version that was opened."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.fs.read_range(self.path, start, end, self.details["e_tag"])


@contextmanager
def _errors_in_words(bucket: str) -> Iterator[None]:
    # Not as `OSError`: fsspec takes one for a folder that is empty.
    try:
        yield
    except FileNotFoundError:
        raise
    except BaseError as error:
        raise S3Error(_words(error, bucket)) from error


def _words(error: BaseError, bucket: str) -> str:
    if isinstance(error, PreconditionError):
        return "it was replaced while it was read"
    told = str(error)
    answer = _CODE.search(told)
    code, message = (answer[1], answer[2] or answer[1]) if answer else ("", "")
    if code == "NoSuchBucket":
        return f"the store has no bucket {bucket!r} (its address is in AWS_ENDPOINT_URL)"
    if _METADATA_SERVICE in told:
        return f"there are no credentials for the store (set {_ENVIRONMENT})"
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        # A request for the head of a file is refused without a word.
        why = f" ({message})" if message else ""
        return f"the store refuses access to the bucket {bucket!r}{why} (check {_ENVIRONMENT})"
    return message or told.partition("\n")[0]
