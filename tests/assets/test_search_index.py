"""Which articles are indexed, and when; Lucene itself stays out of it."""

from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import polars as pl
import pytest

from assets.passage_vectors import NOT_NEEDED
from assets.search_index import (
    article_files,
    article_passages,
    refresh_index,
    wikipedia_index_fingerprint,
)
from dagster_project.commands.build import prepare
from dagster_project.commands.options import RunOptions
from dagster_project.runs.forecast import indexes_of
from dagster_project.runs.run_job import dagster_instance
from tests.homes import write_lines
from toolformer.home.fingerprints import FINGERPRINT, Fingerprint
from toolformer.home.home import Home
from toolformer.settings.corpus_sections import STARTER_ARTICLES, WIKIPEDIA_EXCERPT
from toolformer.settings.sections import Settings, validated
from toolformer.sources.errors import SourceError
from toolformer.sources.reasons import Tally
from tools.retrieval.passages import Passage


def index_of(source: str) -> tuple[list[Passage], Tally]:
    settings, tally = validated({"wikipedia_index": {"source": source}}, origin="test"), Tally()
    return [*article_passages(article_files(settings), settings, tally)], tally


def test_no_two_passages_have_the_same_id_whatever_their_titles(tmp_path):
    file = write_lines(
        tmp_path / "articles.jsonl", [{"title": "Otter", "text": "Otters swim."}] * 3
    )
    passages, _ = index_of(str(file))
    assert len({passage.passage_id for passage in passages}) == len(passages) == 3


def test_articles_of_wikimedia_are_cut_at_their_headings_and_rejected_records_counted(tmp_path):
    text = "Otters swim.\n\nUse \n\nNone.\n\nSee also\n\nReferences"
    columns = {"id": ["1", "2"], "url": ["u", "v"], "title": ["Otter", "B"], "text": [text, None]}
    for name in ("train-0.parquet", "train-1.parquet"):
        pl.DataFrame(columns).write_parquet(tmp_path / name)
    passages, tally = index_of(f"{tmp_path}/*.parquet")
    assert passages[2:] == [
        Passage("2", "Otter", "", "Otters swim.", "u"),
        Passage("3", "Otter", "Use", "None.", "u"),
    ]
    assert str(tally) == "Records read: 4, usable: 2, rejected: 2 (missing_text 2)"


@pytest.mark.parametrize("source", [WIKIPEDIA_EXCERPT, STARTER_ARTICLES])
def test_built_in_sources_are_indexed_by_their_names(source: str):
    passages, tally = index_of(source)
    assert tally.usable == tally.records > 15
    assert all(passage.title and passage.url and passage.text for passage in passages)


def test_a_source_without_texts_is_an_error_that_names_its_columns(tmp_path):
    file = write_lines(tmp_path / "articles.jsonl", [{"wikipedia_title": "A", "paragraphs": ["B"]}])
    with pytest.raises(SourceError, match=r"no column 'text'.*wikipedia_title, paragraphs"):
        index_of(str(file))


def test_an_index_that_no_setting_needs_is_not_built_and_not_missing(
    home: Home, corpus_file: Path, monkeypatch
):
    asset = dg.AssetKey("passage_index")
    monkeypatch.setattr("dagster_project.commands.build.report_source_problems", lambda *_: {})
    monkeypatch.setattr("assets.search_index.refresh_index", lambda *_: dg.MaterializeResult())
    built: list[str] = []
    monkeypatch.setattr(
        "assets.passage_vectors.refresh_index",
        lambda *_: built.append("passages") or dg.MaterializeResult(),
    )

    def prepared(retriever: str, *named: str) -> tuple[str, dg.AssetMaterialization]:
        tools = {"QA": {"is_enabled": False}, "WikiSearch": {"options": {"retriever": retriever}}}
        corpus = {"sources": [{"path": str(corpus_file)}]}
        options = RunOptions(overrides={"tools": tools, "corpus": corpus}, tools=named)
        with dagster_instance(home) as instance:
            prepare(options, home, options.load_settings(home), instance)
            event = instance.get_latest_materialization_event(asset)
            assert event is not None
            assert event.asset_materialization is not None
            return event.run_id, event.asset_materialization

    run, told = prepared("bm25")
    assert told.metadata["state"].value == NOT_NEEDED
    assert built == []
    # Said once: an unchanged build repeats nothing.
    assert prepared("bm25")[0] == run
    assert prepared("hybrid")[0] != run
    assert built == ["passages"]
    prepared("bm25", "QA")
    assert built == ["passages"] * 2


def test_an_index_is_built_in_the_language_of_the_settings(home: Home, corpus_file, monkeypatch):
    built = {}
    monkeypatch.setattr("dagster_project.commands.build.report_source_problems", lambda *_: {})
    monkeypatch.setattr("assets.search_index.build_index", lambda *_, **given: built.update(given))
    overrides = {
        "corpus": {"sources": [{"path": str(corpus_file)}]},
        "tools": {"WikiSearch": {"options": {"retriever": "bm25"}}, "QA": {"is_enabled": False}},
        "wikipedia_index": {"language": "de"},
    }
    options = RunOptions(overrides=overrides)
    settings = options.load_settings(home)
    with dagster_instance(home) as instance:
        prepare(options, home, settings, instance)
    assert built["language"] == "de"
    files, english = article_files(settings), validated({}, origin="test")
    assert built["fingerprint"] == wikipedia_index_fingerprint(settings, files).digest
    assert built["fingerprint"] != wikipedia_index_fingerprint(english, files).digest


def test_an_index_is_another_version_of_itself_only_where_it_was_made_from_something_else(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))

    def refreshed(passage_words: int) -> dg.MaterializeResult:
        made_from = Fingerprint.of({"passage_words": passage_words})
        return refresh_index(
            SimpleNamespace(home=Home(tmp_path), settings=Settings(), force=False),  # type: ignore[arg-type]
            tmp_path,
            made_from,
            lambda _: {FINGERPRINT: made_from.digest, "passages": 7},
            lambda: pytest.fail("It is up to date."),
        )

    first, same, other = refreshed(100), refreshed(100), refreshed(50)
    assert first.data_version == same.data_version != other.data_version
    assert first.metadata is not None
    assert first.metadata["dagster/row_count"] == 7


def test_no_index_is_built_for_tools_that_search_one_that_exists_already(tmp_path):
    def needed(*named: str, **changes: dict) -> list[str]:
        return indexes_of(named, validated(changes, origin="test"))

    lucene = {"WikiSearch": {"options": {"index_directory": str(tmp_path)}}}
    assert needed("QA", "WikiSearch") == ["wikipedia_index", "passage_index"]
    assert needed("WikiSearch", tools=lucene) == []
    assert needed("QA", "WikiSearch", tools=lucene) == ["wikipedia_index", "passage_index"]
