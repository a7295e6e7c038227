"""`toolformer export dataset --push-to`: an exported dataset as one commit on a model hub.

The files are sent first and belong to nothing until the commit names all of them. What was sent
before a push broke off is known by its digest and not sent again.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.errors import ExportError
from toolformer.exports.dataset_card import CARD_FILE, CARD_MARK, is_data_file
from toolformer.files.replaceable import head_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_WRITING = "Set HF_TOKEN to a token that may write there, or run `hf auth login`"


def check_repository(name: str) -> None:
    """Tell before an export is made that it cannot be pushed.

    Args:
        name: the repository, as OWNER/NAME; it need not be there.

    Raises:
        ExportError: the name is none, there is no token, it may not write there, the hub does not
            answer, or the repository holds anything but an earlier export.
    """
    from huggingface_hub import HfApi, get_token

    if _NAME.fullmatch(name) is None:
        raise ExportError(f"--push-to {name!r} names no repository. Expected OWNER/NAME.")
    if get_token() is None:
        raise ExportError(f"There is no token for the hub, so nothing was sent. {_WRITING}.")
    api = HfApi()
    with _explained_refusals(name):
        account = api.whoami()
        if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise ExportError(f"The token may only read, so nothing was sent. {_WRITING}.")
        _earlier_export(api, name)


def push_dataset(folder: Path, name: str) -> str:
    """Make what the repository holds the same as the folder, by one commit.

    A repository that is not there is made, and is private.

    Returns:
        The address of the commit.

    Raises:
        ExportError: see `check_repository`, or the hub refuses it; the repository is as before.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi()
    with _explained_refusals(name):
        parent, old_files = _earlier_export(api, name)
        if parent is None:
            api.create_repo(name, repo_type="dataset", private=True)
        paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.*")}
        files = {file: path for file, path in sorted(paths.items()) if path.is_file()}
        # Not `upload_folder`, which makes several commits of many files.
        commit = api.create_commit(
            name,
            [
                *(CommitOperationAdd(file, path) for file, path in files.items()),
                *(CommitOperationDelete(file) for file in sorted(old_files - files.keys())),
            ],
            commit_message="Dataset exported by toolformer",
            repo_type="dataset",
            # Refused where somebody else has written since.
            parent_commit=parent,
        )
    return commit.commit_url


def _earlier_export(api: "HfApi", name: str) -> tuple[str | None, set[str]]:
    """The newest commit and the files of it; None where there is no such repository."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        there = api.dataset_info(name)
    except RepositoryNotFoundError:
        return None, set()
    api.auth_check(name, repo_type="dataset", write=True)
    files = {file.rfilename for file in there.siblings or ()} - {".gitattributes"}
    others = sorted(file for file in files if file != CARD_FILE and not is_data_file(file))
    if files and not others:
        others = [CARD_FILE]
        if CARD_FILE in files:
            card = api.hf_hub_download(name, CARD_FILE, repo_type="dataset", revision=there.sha)
            others = [] if CARD_MARK in head_of(Path(card)).decode(errors="replace") else others
    if others:
        raise ExportError(
            f"The repository {name} holds what no export has, such as {others[0]!r}, so nothing "
            "was sent. Expected one that is not there, is empty or has an earlier export."
        )
    return there.sha, files


@contextmanager
def _explained_refusals(name: str) -> Iterator[None]:
    """Tell what the hub refuses, or that it does not answer; a token is in none of it.

    Raises:
        ExportError: it refused.
    """
    from httpx2 import HTTPError
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except ExportError:
        raise
    # Runtime errors: of a file that did not arrive.
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        remedy = "Run the same again; what has arrived is not sent twice."
        said = " ".join(str(error.__cause__ or error).split()).rstrip(".")
        if isinstance(error, HfHubHTTPError):
            status = error.response.status_code
            said = error.server_message or str(error).partition("\n")[0].rstrip(".")
            remedy = f"{_WRITING}." if status in (401, 403) else remedy
        raise ExportError(
            f"The hub did not take the dataset for {name}, and no commit was made ({said}). "
            f"{remedy}"
        ) from error
