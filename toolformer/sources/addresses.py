"""File systems of sources: local paths, and addresses through fsspec."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from toolformer.base.untrusted_text import shown
from toolformer.sources.errors import SourceError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# Others that fsspec knows (archives, chains, caches, version control) name no file that stays where
# it is.
_SCHEMES = ("http", "https", "s3", "gs", "gcs", "abfs", "abfss", "az", "hf")
_SCHEME = re.compile(r"([A-Za-z][\w+.-]*):(?://|:.*://)")
# How long a store that does not answer is asked again.
_RETRY_TIME = timedelta(seconds=30)


def located(address: str) -> tuple["AbstractFileSystem", str, str | None]:
    """Return the file system of a path or URI, the path in it, and `file`, `directory` or None.

    Raises:
        SourceError: the scheme is not supported, its driver is not installed, or the file system
            does not answer.
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
    if match[1] not in _SCHEMES or "::" in address:
        raise SourceError(
            f"The source {address!r} cannot be used: {match[1]}:// is not supported, or not in "
            "this form. Expected a local path or an address that begins with "
            f"{', '.join(f'{scheme}://' for scheme in _SCHEMES)}. Copy the files here, unpacked."
        )
    with source_errors(address):
        try:
            filesystem, path = _remote(address)
        except ImportError as error:
            raise SourceError(
                f"The source {address!r} cannot be opened: {shown(error).rstrip('.')}. Expected an "
                "address whose fsspec driver is installed. Install that package in this "
                "environment with `pip install -c requirements.lock` in the clone (for s3://: "
                "'.[s3]'), or copy the files here."
            ) from error
        # obstore takes a bucket for a file.
        if address.startswith("s3://") and "/" not in path.strip("/"):
            return filesystem, path, "directory"
        # Not by `isfile`, which returns False where there is no network.
        try:
            facts = cast("dict[str, Any]", filesystem.info(path))
        except FileNotFoundError:
            return filesystem, path, None
        return filesystem, path, str(facts["type"])


def is_local(filesystem: "AbstractFileSystem") -> bool:
    """Return whether the files are on this machine."""
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(filesystem, LocalFileSystem)


@contextmanager
def source_errors(name: str) -> Iterator[None]:
    """Raise errors inside the block as a `SourceError` that names the source."""
    try:
        yield
    except SourceError:
        raise
    # Drivers raise whatever the libraries below them raise.
    except Exception as error:
        raise unreadable(name, error) from error


def unreadable(name: str, error: Exception, place: str = "") -> SourceError:
    """Return the error for a file that is there and cannot be read, or not to its end."""
    reason = shown(error).rstrip(".") or type(error).__name__
    return SourceError(
        f"The source {name!r} cannot be read{place}: {reason}. Expected a whole, readable file. "
        "Check its permissions and the disk or network it is on, or copy it again; then ingest it "
        "again. Nothing of it was stored."
    )


def _remote(address: str) -> tuple["AbstractFileSystem", str]:
    import fsspec

    if address.startswith("s3://"):
        from obstore.fsspec import register

        register("s3")
        # Credentials, region and endpoint are obstore's own: AWS_ACCESS_KEY_ID, AWS_REGION,
        # AWS_ENDPOINT_URL and so on, or the role of the machine.
        retries = {"retry_timeout": _RETRY_TIME}
        return fsspec.url_to_fs(address, client_options={"allow_http": True}, retry_config=retries)
    # The file system of the hub keeps listings as long as it lives.
    options = {"skip_instance_cache": True} if address.startswith("hf://") else {}
    return fsspec.url_to_fs(address, **options)
