"""Files in S3 stores, as fsspec sees them, with errors in words.

From open to close all bytes are of one version. Credentials, region and endpoint are obstore's own:
`AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT_URL` and so on, or the machine's role. Needs
obstore, which is optional: to be imported where an address begins with `s3://`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import obstore
from fsspec.spec import AbstractBufferedFile
from obstore.exceptions import (
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.fsspec import FsspecStore

if TYPE_CHECKING:
    from obstore import GetOptions

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


class _PinnedFile(AbstractBufferedFile):
    """A file of which all bytes are of the version that was opened, as its ETag tells."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        bucket, key = self.fs._split_path(self.path)
        options: GetOptions = {"range": (start, end), "if_match": self.details["e_tag"]}
        with _errors_in_words(bucket):
            try:
                answer = obstore.get(self.fs._construct_store(bucket), key, options=options)
                return answer.bytes().to_bytes()
            except FileNotFoundError as error:
                raise S3Error("it was deleted while it was read") from error


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
    text = str(error)
    answer = _CODE.search(text)
    code, message = (answer[1], answer[2] or answer[1]) if answer else ("", "")
    if code == "NoSuchBucket":
        return f"the store has no bucket {bucket!r} (its address is in AWS_ENDPOINT_URL)"
    if _METADATA_SERVICE in text:
        return f"there are no credentials for the store (set {_ENVIRONMENT})"
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        # A request for the head of a file is refused without a word.
        why = f" ({message})" if message else ""
        return f"the store refuses access to the bucket {bucket!r}{why} (check {_ENVIRONMENT})"
    return message or text.partition("\n")[0]
