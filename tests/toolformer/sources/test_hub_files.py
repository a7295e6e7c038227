"""Files of a model hub as sources, by `huggingface_hub`'s own file system and a small hub."""

from collections.abc import Iterator

import pytest

from tests.hub import READER, Hub, connected_hub
from tests.toolformer.sources.conftest import records
from toolformer.sources.errors import SourceError, SourceNotFoundError
from toolformer.sources.files import file_identity, list_files
from toolformer.sources.source import Source

FOLDER = "hf://datasets/ada/texts"
PLAIN = b'{"text": "One."}\n{"text": "Two."}\n'


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    with connected_hub(monkeypatch, tmp_path) as hub:
        monkeypatch.setenv("HF_TOKEN", READER)
        files = {
            "a.jsonl": PLAIN,
            "data/one/c.jsonl": b'{"text": "Four."}\n',
            "b.jsonl": b'{"text": "Three."}\n',
            "README.md": b"# Texts",
        }
        hub.repositories["ada/texts"] = [files]
        yield hub


def source(path: str) -> Source:
    return Source(path, shard_size=3)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("path", "texts"),
    [
        (f"{FOLDER}/a.jsonl", ["One.", "Two."]),
        (f"{FOLDER}@main/a.jsonl", ["One.", "Two."]),
        (f"{FOLDER}/*.jsonl", ["One.", "Two.", "Three."]),
        (f"{FOLDER}/data/**/*.jsonl", ["Four."]),
        (f"{FOLDER}/data", ["Four."]),
        (FOLDER, ["One.", "Two.", "Three.", "Four."]),
    ],
)
def test_files_of_a_dataset_are_read(path, texts):
    assert [record.columns["text"] for record in records(source(path))] == texts


def test_a_file_that_changed_has_another_identity(hub: Hub):
    def identity() -> str:
        (file,) = list_files(source(f"{FOLDER}/a.jsonl"))
        return file_identity(file)

    first = identity()
    hub.repositories["ada/texts"].append({"b.jsonl": b"", "a.jsonl": PLAIN})
    assert identity() == first
    hub.repositories["ada/texts"].append({"a.jsonl": PLAIN.replace(b"One", b"Six")})
    assert identity() != first
    assert not any("/resolve/" in path for _, path in hub.requests)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("path", ["hf://datasets/ada/hidden/a.jsonl", f"{FOLDER}/c.jsonl"])
def test_what_is_not_there_or_hidden_names_the_token_that_may_be_missing(path):
    with pytest.raises(
        SourceNotFoundError, match=r"set HF_TOKEN, or run `hf auth login`"
    ) as raised:
        list_files(source(path))
    assert READER not in str(raised.value)


def test_without_a_network_the_address_is_told_of(hub: Hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match="offline mode is enabled"):
        list_files(source(f"{FOLDER}/a.jsonl"))
    assert not hub.requests
