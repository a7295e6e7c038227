"""What comes before the shards of a build, and that looking at it changes nothing."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from dagster_project.home import Home
from dagster_project.runs import foreseen_home
from dagster_project.runs.foreseen_home import ForeseenHome, foresee
from dagster_project.runs.indexes import PlannedIndex
from dagster_project.settings.sections import Settings, merged, validated
from dagster_project.settings.settings_file import preset_values
from dagster_project.wiring.toolbox import open_tool
from toolformer.forward.embedded_model import EMBEDDED_MODEL_NAME
from toolformer.sources.ingestion import update_manifest
from toolformer.sources.manifest import Manifest
from toolformer.sources.source import Source


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    file = tmp_path / "texts.jsonl"
    write(file, range(5))
    return file


@pytest.fixture
def look(home: Home, tmp_path: Path) -> Callable[..., ForeseenHome]:
    """Foresees the home; fails where that changed anything in it."""
    folders = (tmp_path / f"foreseen-{number}" for number in range(9))

    def foreseen(settings: Settings, *tools: str) -> ForeseenHome:
        before = contents(home.root)
        found = foresee(settings, home, tools, next(folders))
        assert contents(home.root) == before
        return found

    return foreseen


def write(file: Path, numbers: Iterable[int]) -> None:
    file.write_text("".join(json.dumps({"text": f"Text {n}."}) + "\n" for n in numbers))


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def settings_of(*paths: Path, **changes: dict) -> Settings:
    corpus = {"sources": [{"path": str(path)} for path in paths], "shard_size": 2}
    return validated(merged(preset_values("laptop"), {"corpus": corpus, **changes}), origin="test")


def cut(home: Home, *paths: Path) -> None:
    sources = [Source(str(path), shard_size=2) for path in paths]
    update_manifest(home.sources, sources, held_out_every=0)


def test_a_new_home_is_foreseen_with_its_shards(look, home: Home, texts: Path):
    found = look(settings_of(texts))
    assert [source.path for source in found.cut] == [str(texts)]
    assert found.new_shards == ["shard-00000", "shard-00001", "shard-00002"]
    assert found.is_counted
    assert not found.is_converted
    assert not home.root.exists()
    entries = Manifest.load(found.home.sources).active_shards
    cut(home, texts)
    assert [entry.digest for entry in entries] == [
        entry.digest for entry in Manifest.load(home.sources).active_shards
    ]


def test_a_model_converted_in_the_cache_is_not_foreseen_to_be_converted(tmp_path, texts: Path):
    home = Home(tmp_path / "home", tmp_path / "cache")
    converted = home.converted_models / EMBEDDED_MODEL_NAME
    converted.mkdir(parents=True)
    (converted / "model.safetensors").touch()
    (home.models / "toolformer").mkdir(parents=True)
    found = foresee(settings_of(texts), home, (), tmp_path / "foreseen")
    assert found.is_converted
    assert {each.name: each.resolve() for each in found.home.models.iterdir()} == {
        EMBEDDED_MODEL_NAME: converted,
        "toolformer": home.models / "toolformer",
    }


def test_sources_that_are_as_they_were_are_not_cut_again(look, home: Home, texts: Path):
    cut(home, texts)
    found = look(settings_of(texts))
    assert (found.cut, found.new_shards, found.retired_shards) == ([], [], [])
    assert len(Manifest.load(found.home.sources).active_shards) == 3


def test_a_file_with_another_date_alone_changes_nothing(look, home: Home, texts: Path):
    cut(home, texts)
    os.utime(texts, (0, 0))
    found = look(settings_of(texts))
    assert [source.path for source in found.cut] == [str(texts)]
    assert not found.changes_shards


def test_records_that_changed_retire_their_shards_and_bring_new_ones(look, home: Home, texts: Path):
    cut(home, texts)
    write(texts, [0, 1, 2, 3, 7])
    found = look(settings_of(texts))
    assert found.retired_shards == ["shard-00002"]
    assert found.new_shards == ["shard-00003"]
    assert found.changes_shards
    cut(home, texts)
    write(texts, range(5))
    assert look(settings_of(texts)).restored_shards == ["shard-00002"]


def test_large_sources_are_named_and_not_read(
    look, home: Home, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cut(home, texts)
    large = tmp_path / "large.jsonl"
    write(large, range(100, 120))
    monkeypatch.setattr(foreseen_home, "_MOST_BYTES", 100)
    found = look(settings_of(texts, large))
    assert [source.path for source in found.cut] == [str(large)]
    assert not found.is_counted
    assert found.new_shards == []
    assert len(Manifest.load(found.home.sources).active_shards) == 3


def test_a_source_that_is_gone_is_named_with_the_reason(look, texts: Path, tmp_path: Path):
    gone = tmp_path / "gone.jsonl"
    found = look(settings_of(texts, gone))
    assert list(found.unusable) == [str(gone)]
    assert "gone.jsonl" in found.unusable[str(gone)]
    assert len(found.new_shards) == 3


def test_an_index_is_foreseen_with_the_fingerprint_that_it_will_have(look, texts: Path):
    settings = settings_of(texts)
    (index,) = look(settings, "WikiSearch").indexes
    assert (index.asset, index.reason) == ("wikipedia_index", "missing")
    found = look(settings, "WikiSearch")
    tool = open_tool(settings, found.home, "WikiSearch")
    assert tool.version.endswith(f"index={index.fingerprint})")
    assert look(settings, "Calculator").indexes == []


def test_an_index_of_other_passages_is_out_of_date(look, home: Home, texts: Path):
    settings = settings_of(texts)
    (index,) = look(settings, "WikiSearch").indexes
    index.foresee(home, settings_of(texts))
    assert look(settings, "WikiSearch").indexes == []
    (other,) = look(settings_of(texts, wikipedia_index={"passage_words": 50}), "WikiSearch").indexes
    assert (other.reason, other.name) == ("out of date", "Wikipedia index")


def test_an_index_that_cannot_be_built_leaves_its_tools_without(
    look, home: Home, texts: Path, tmp_path: Path
):
    no_dump = {"source": str(tmp_path / "no-dump.xml.bz2")}
    found = look(settings_of(texts, wikipedia_index=no_dump), "WikiSearch")
    assert found.indexes == [PlannedIndex("wikipedia_index", "missing", None)]
    assert not found.home.wikipedia_index.exists()
    # One that was built before stays.
    (index,) = look(settings_of(texts), "WikiSearch").indexes
    index.foresee(home, settings_of(texts))
    found = look(settings_of(texts, wikipedia_index=no_dump), "WikiSearch")
    assert found.indexes == []
    assert found.home.wikipedia_index.exists()
