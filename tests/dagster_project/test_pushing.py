"""`toolformer export dataset --push-to`: one commit or none, on a small hub of our own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.dagster_project.command_line import Outcome
from tests.dagster_project.exports import fill_for_export
from tests.hub import READER, STRANGER, Hub, connected_hub
from toolformer.exports.dataset_card import CARD_MARK
from toolformer.home.home import Home
from warehouse.warehouse import Warehouse

# Of `huggingface_hub`, which sends files in a way that httpx2 will drop.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")

REPOSITORY = "ada/calls"
KEPT = "data/kept_calls/part-0.parquet"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with connected_hub(monkeypatch, tmp_path) as hub:
        yield hub


@pytest.fixture
def filled(warehouse: Warehouse) -> None:
    fill_for_export(warehouse)


@pytest.fixture
def push(home: Home, run: Callable[..., Outcome]) -> Callable[..., Outcome]:
    home.warehouse.mkdir(parents=True, exist_ok=True)
    return lambda *arguments, to=REPOSITORY: run("export", "dataset", "--push-to", to, *arguments)


@pytest.mark.usefixtures("filled")
def test_a_dataset_with_its_card_is_one_commit_of_a_private_repository(
    hub: Hub, push: Callable[..., Outcome], tmp_path: Path
):
    outcome = push("--output", tmp_path / "calls")
    assert outcome.code == 0, outcome.err
    told, pushed = outcome.out.splitlines()
    assert told.endswith(f"in {tmp_path / 'calls'}.")
    assert pushed.startswith(f"Pushed: {hub.url}/datasets/{REPOSITORY}/commit/")
    files = hub.files(REPOSITORY)
    written = {
        path.relative_to(tmp_path / "calls").as_posix(): path.read_bytes()
        for path in (tmp_path / "calls").rglob("*.*")
    }
    assert files == {".gitattributes": b"", **written}
    assert CARD_MARK in files["README.md"].decode()
    assert len(hub.repositories[REPOSITORY]) == 2
    assert hub.is_private == {REPOSITORY: True}
    assert pl.read_parquet(files[KEPT]).height == 4


@pytest.mark.usefixtures("filled")
def test_another_push_replaces_the_files_and_sends_what_is_there_only_once(
    hub: Hub, push: Callable[..., Outcome]
):
    assert push().code == 0
    first = hub.files(REPOSITORY)
    assert hub.asked("PUT") == 2
    # As if an earlier export had had more rows.
    hub.repositories[REPOSITORY].append({**first, "data/kept_calls/part-1.parquet": b"old"})
    assert push().code == 0
    assert hub.files(REPOSITORY) == first
    assert hub.asked("PUT") == 2


@pytest.mark.usefixtures("filled")
def test_a_push_that_broke_off_left_no_commit_and_goes_on(hub: Hub, push: Callable[..., Outcome]):
    hub.refuses = {"/commit/": 503}
    outcome = push()
    # Behind the bars of what was sent.
    *_, error = outcome.err.splitlines()
    assert error.startswith(f"Error: Nothing was committed to {REPOSITORY} on the hub: refused on")
    assert outcome.code == 1
    assert set(hub.files(REPOSITORY)) == {".gitattributes"}
    hub.refuses = {}
    assert push().code == 0
    assert hub.asked("PUT") == 2
    assert len(hub.repositories[REPOSITORY]) == 2


@pytest.mark.usefixtures("filled")
def test_a_file_that_does_not_arrive_leaves_no_commit(hub: Hub, push: Callable[..., Outcome]):
    hub.refuses = {"/lfs/": 400}
    assert push().is_one_paragraph_naming(
        f"Nothing was committed to {REPOSITORY}", "refused on purpose"
    )
    assert set(hub.files(REPOSITORY)) == {".gitattributes"}


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("is_there", [True, False])
def test_a_commit_whose_answer_is_lost_is_not_said_to_be_none(
    hub: Hub, push: Callable[..., Outcome], is_there: bool
):
    if is_there:
        hub.repositories[REPOSITORY] = [{".gitattributes": b""}]
    # Of one that was not made nothing of the kind is said.
    hub.refuses = {"/commit/": 504}
    outcome = push()
    assert (outcome.code, "Nothing was committed" in outcome.err) == (1, True)
    hub.refuses, hub.loses_answers = {}, True
    outcome = push()
    assert (outcome.code, f"{REPOSITORY} on the hub may have it" in outcome.err) == (1, True)
    assert len(hub.repositories[REPOSITORY]) == 2


@pytest.mark.parametrize(
    ("token", "to", "named"),
    [
        (None, REPOSITORY, "There is no token"),
        (READER, REPOSITORY, "may only read"),
        ("hf_unknown", REPOSITORY, "HF_TOKEN"),
        (STRANGER, REPOSITORY, "don't have the rights"),
        (READER, "calls", "Expected OWNER/NAME"),
    ],
)
def test_a_token_that_may_not_write_is_told_of_before_anything_is_sent(
    hub: Hub, push: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, token, to, named
):
    hub.repositories[REPOSITORY] = [{".gitattributes": b""}]
    if token is None:
        monkeypatch.delenv("HF_TOKEN")
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    outcome = push(to=to)
    assert outcome.is_one_paragraph_naming(named)
    assert not {method for method, _ in hub.requests} - {"GET"}
    assert "hf_" not in outcome.out + outcome.err


@pytest.mark.usefixtures("filled")
def test_a_repository_of_another_cannot_be_made(hub: Hub, push: Callable[..., Outcome]):
    assert push(to="bob/calls").is_one_paragraph_naming(
        "Nothing was committed to bob/calls", "HF_TOKEN"
    )
    assert not hub.repositories
    assert not hub.arrived


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"README.md": CARD_MARK.encode(), "notes.txt": b"mine"}, "'notes.txt'"),
        ({"README.md": b"# Mine"}, "'README.md'"),
    ],
)
def test_a_repository_with_other_files_is_not_touched(
    hub: Hub, push: Callable[..., Outcome], files, named
):
    hub.repositories[REPOSITORY] = [files]
    assert push().is_one_paragraph_naming(named, "nothing was sent")
    assert len(hub.repositories[REPOSITORY]) == 1
    assert not {method for method, _ in hub.requests} - {"GET", "HEAD"}


@pytest.mark.usefixtures("filled")
def test_what_another_has_written_meanwhile_is_not_replaced(
    hub: Hub, push: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
):
    hub.repositories[REPOSITORY] = [{".gitattributes": b""}]
    monkeypatch.setattr(Hub, "sha", lambda hub, name: f"{len(hub.requests):040x}")
    outcome = push()
    assert outcome.code == 1
    assert "The branch has moved" in outcome.err
    assert len(hub.repositories[REPOSITORY]) == 1


def test_a_hub_that_cannot_be_reached_is_told_of(
    hub: Hub, push: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert push().is_one_paragraph_naming("offline mode is enabled", "HF_HUB_OFFLINE")
    assert not hub.requests


def test_only_a_dataset_is_pushed(hub: Hub, home: Home, run: Callable[..., Outcome]):
    home.warehouse.mkdir(parents=True)
    outcome = run("export", "text", "--push-to", REPOSITORY)
    assert outcome.code == 2
    assert "Only a dataset can be pushed" in outcome.err
    assert not hub.requests
