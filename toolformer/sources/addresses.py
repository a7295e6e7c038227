"""File systems of sources: local paths, and addresses that fsspec opens."""

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

# fsspec's other schemes (archives, chains, caches, version control) are excluded because they do
# not name files at a stable location.
_SCHEMES = ("http", "https", "s3", "gs", "gcs", "abfs", "abfss", "az", "hf")
_SCHEME = re.compile(r"([A-Za-z][\w+.-]*):(?://|:.*://)")
# Maximum time to keep retrying if a store does not answer.
_RETRY_TIME = timedelta(seconds=30)


def located(address: str) -> tuple["AbstractFileSystem", str, str | None]:
    """Return file system, path in it and kind of a path or URI.

    The kind is `file`, `directory`, or None if nothing exists there.
    """
    import fsspec

    address = address.removeprefix("file://")
    match = _SCHEME.match(address)
    if match is None:
        local = fsspec.filesystem("file")
        # `url_to_fs` would misread `data:` and `::` in file names, and `Path` would raise for
        # `~unknown_user`.
        path = Path(os.path.abspath(os.path.expanduser(address))).as_posix()  # noqa: PTH100, PTH111
        kind = "file" if local.isfile(path) else "directory" if local.isdir(path) else None
        return local, path, kind
    if match[1] not in _SCHEMES or "::" in address:
        raise SourceError(
            f"The source {address!r} cannot be used: {match[1]}:// is not supported, or the "
            "address chains several file systems (::). Expected a local path or an address that "
            "begins with "
            f"{', '.join(f'{scheme}://' for scheme in _SCHEMES)}. Copy the files to this machine, "
            "and unpack archives."
        )
    with source_errors(address):
        try:
            filesystem, path = _remote(address)
        except ImportError as error:
            raise SourceError(
                f"The source {address!r} cannot be opened: {shown(error).rstrip('.')}. Expected an "
                "address whose fsspec driver is installed. Install the driver with `pip install -c "
                "requirements.lock` in the clone (for s3://: '.[s3]'), or copy the files to this "
                "machine."
            ) from error
        # obstore reports a bucket as a file.
        if address.startswith("s3://") and "/" not in path.strip("/"):
            return filesystem, path, "directory"
        # `isfile` would return False if the network is down.
        try:
            facts = cast("dict[str, Any]", filesystem.info(path))
        except FileNotFoundError:
            return filesystem, path, None
        return filesystem, path, str(facts["type"])


def is_local(filesystem: "AbstractFileSystem") -> bool:
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(filesystem, LocalFileSystem)


@contextmanager
def source_errors(name: str) -> Iterator[None]:
    """Turn any error inside the block into a `SourceError` that names the source."""
    try:
        yield
    except SourceError:
        raise
    # Drivers raise the errors of the libraries they use, which have no common base class.
    except Exception as error:
        raise unreadable(name, error) from error


def unreadable(name: str, error: Exception, position: str = "") -> SourceError:
    """Return the error for an existing file that cannot be read to its end."""
    reason = shown(error).rstrip(".") or type(error).__name__
    return SourceError(
        f"The source {name!r} cannot be read{position}: {reason}. Expected a complete, readable "
        "file. Check its permissions and its disk or network, or copy the file again. None of "
        "its records were stored, so ingest it again afterwards."
    )


def _remote(address: str) -> tuple["AbstractFileSystem", str]:
    import fsspec

    if address.startswith("s3://"):
        from obstore.fsspec import register

        register("s3")
        # obstore reads credentials, region and endpoint from AWS_ACCESS_KEY_ID, AWS_REGION,
        # AWS_ENDPOINT_URL and so on, or from the machine's role.
        retries = {"retry_timeout": _RETRY_TIME}
        return fsspec.url_to_fs(address, client_options={"allow_http": True}, retry_config=retries)
    # The Hub's file system caches listings for its lifetime, so use a new instance each time.
    options = {"skip_instance_cache": True} if address.startswith("hf://") else {}
    return fsspec.url_to_fs(address, **options)
