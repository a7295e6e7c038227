"""`toolformer export dataset --push-to`: an exported dataset as one commit on the hub.

Files that were sent before a push broke off belong to nothing, and are not sent again.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from dagster_project.commands import console
from dagster_project.commands.exporting import write_export
from toolformer.errors import ExportError
from toolformer.exports.dataset_card import CARD_FILE, CARD_MARK, is_data_file
from toolformer.home.home import Home

_TOKEN = "Set HF_TOKEN to a token that may write there, or run `hf auth login`."


def push_export(
    name: str, home: Home, output: Path | None, *, round_number: int | None, is_forced: bool
) -> None:
    """Export the dataset, and give a repository the same files and no others, by one commit.

    Args:
        name: the repository, as OWNER/NAME; made, as a private one, where it is not there.
        output: the folder to export to; None for one that is not kept.

    Raises:
        ExportError: no commit was made. What can be known before the export is told before it.
    """
    from httpx2 import HTTPError
    from huggingface_hub.errors import HfHubHTTPError

    try:
        with TemporaryDirectory() as temporary:
            _check_repository(name)
            folder = output or Path(temporary, "dataset")
            place = None if output else f"a dataset for {name}"
            options = {"round_number": round_number, "is_forced": is_forced}
            write_export("dataset", home, folder, place=place, **options)
            console.say(f"Pushed: {_push(folder, name)}")
    except ExportError:
        raise
    # Runtime errors: of a file that did not arrive.
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        said = " ".join(str(error.__cause__ or error).split())
        if isinstance(error, HfHubHTTPError):
            said = error.server_message or str(error).partition("\n")[0]
            said += f" {_TOKEN}" if error.response.status_code in (401, 403) else ""
        raise ExportError(f"Nothing was committed to {name} on the hub: {said}") from error


def _check_repository(name: str) -> tuple[str | None, set[str]]:
    """The newest commit of the repository and its files; None where there is no repository."""
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import RepositoryNotFoundError

    if name.count("/") != 1:
        raise ExportError(f"--push-to {name!r} names no repository. Expected OWNER/NAME.")
    if get_token() is None:
        raise ExportError(f"There is no token for the hub, so nothing was sent. {_TOKEN}")
    api = HfApi()
    if api.whoami().get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise ExportError(f"The token may only read, so nothing was sent. {_TOKEN}")
    try:
        there = api.dataset_info(name)
    except RepositoryNotFoundError:
        return None, set()
    api.auth_check(name, repo_type="dataset", write=True)
    files = {file.rfilename for file in there.siblings or ()} - {".gitattributes"}
    others = {file for file in files if not is_data_file(file)}
    if CARD_FILE in others:
        card = api.hf_hub_download(name, CARD_FILE, repo_type="dataset", revision=there.sha)
        if CARD_MARK in Path(card).read_text("utf-8", "replace"):
            others.remove(CARD_FILE)
    if others:
        raise ExportError(
            f"The repository {name} holds what no export has, such as {max(others)!r}, so nothing "
            "was sent. Name another, or one that is not there yet."
        )
    return there.sha, files


def _push(folder: Path, name: str) -> str:
    """Commit the folder; returns the address of the commit."""
    from httpx2 import HTTPError
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    # Again: a long export lies between. A commit upon another one is refused.
    parent, old = _check_repository(name)
    if parent is None:
        HfApi().create_repo(name, repo_type="dataset", private=True)
        parent, old = _check_repository(name)
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.*")}
    added = [CommitOperationAdd(file, path) for file, path in sorted(files.items())]
    removed = [CommitOperationDelete(file) for file in sorted(old - files.keys())]
    # Not `upload_folder`, which makes several commits of many files.
    try:
        commit = HfApi().create_commit(
            name,
            [*added, *removed],
            commit_message="Dataset exported by toolformer",
            repo_type="dataset",
            parent_commit=parent,
        )
    except HTTPError as error:
        # A gateway gives up on commits of many files that are made all the same.
        is_refused = isinstance(error, HfHubHTTPError) and error.response.status_code < 500
        if is_refused or _newest_commit(name) == parent:
            raise
        said = str(error).partition("\n")[0].rstrip(".")
        raise ExportError(
            f"The answer to the commit was lost ({said}), and {name} on the hub may have it. Look "
            "at its newest commit before you push again."
        ) from error
    return commit.commit_url


def _newest_commit(name: str) -> str | None:
    """The newest commit of the repository; None where the hub does not say."""
    from httpx2 import HTTPError
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(name).sha
    except HTTPError:
        return None
