"""Builds the Wikipedia index that WikiSearch and QA search (paper §3)."""

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg

from assets.identities import identity_or_none
from assets.outputs import DONE, UP_TO_DATE
from assets.run import Run
from assets.stage import FingerprintPart, Stage
from assets.stage_asset import asset_of
from toolformer.home.fingerprints import FINGERPRINT, Fingerprint
from toolformer.home.home import Home
from toolformer.home.progress import progress_of
from toolformer.settings.corpus_sections import WIKIPEDIA_EXCERPT
from toolformer.settings.sections import Settings
from toolformer.sources.files import SourceFile, file_identity, list_files
from toolformer.sources.readers import read_documents
from toolformer.sources.reasons import Tally
from toolformer.sources.records import ParsedDocument, Rejection
from toolformer.sources.source import Source
from tools.retrieval.index_folder import index_information
from tools.retrieval.passages import Passage, split_passages
from tools.retrieval.wikipedia_index import build_index


def articles_identity(settings: Settings, _home: Home) -> object:
    """Identify the articles for the code version; remote articles count only by address."""
    source = settings.wikipedia_index.source
    return source if "://" in source else identity_or_none(_digest_of_articles, settings)


def _digest_of_articles(settings: Settings) -> str:
    return wikipedia_index_fingerprint(settings, article_files(settings)).digest


WIKIPEDIA_INDEX = Stage(
    name="wikipedia_index",
    version="5",
    group="prepare",
    kinds=("lucene", "java"),
    settings=("wikipedia_index.passage_words", "wikipedia_index.language"),
    parts=(
        FingerprintPart(
            "articles", ("wikipedia_index.source",), code_version_value=articles_identity
        ),
    ),
)


def article_files(settings: Settings) -> list[SourceFile]:
    """List the files of the articles; raise SourceError if the source cannot be used."""
    return list_files(_source(settings))


def article_passages(
    files: list[SourceFile], settings: Settings, tally: Tally | None = None
) -> Iterator[Passage]:
    """Yield all passages, numbered from 0 in a fixed order; `tally` counts records by outcome."""
    numbers = count()
    for article in read_documents(_source(settings), files):
        if tally is not None:
            tally.count(article.reason if isinstance(article, Rejection) else None)
        if isinstance(article, ParsedDocument):
            yield from split_passages(
                article.title or "",
                article.text,
                article.url or "",
                passage_ids=numbers,
                max_words=settings.wikipedia_index.passage_words,
            )


def _source(settings: Settings) -> Source:
    return Source(settings.wikipedia_index.source, shard_size=1)


def wikipedia_index_fingerprint(settings: Settings, files: Sequence[SourceFile]) -> Fingerprint:
    """Return the fingerprint of the index; raise SourceError if a file cannot be read."""
    articles = [file_identity(file) for file in files]
    if settings.wikipedia_index.source == WIKIPEDIA_EXCERPT:
        # Another release of gensim may strip markup differently.
        articles.append(f"gensim={importlib.metadata.version('gensim')}")
    return WIKIPEDIA_INDEX.fingerprint(settings, {"articles": articles})


def refresh_index(
    run: Run,
    directory: Path,
    identity: Fingerprint,
    information_of: Callable[[Path], Mapping[str, Any] | None],
    build: Callable[[], object],
    articles: Tally | None = None,
) -> dg.MaterializeResult:
    """Build an index unless it exists with the same fingerprint, and report its `index.json`.

    The report includes `articles`, counted by `build`. A lock makes concurrent builds wait.
    """
    run.home.check_locks()
    information = information_of(directory)
    is_stale = information is None or information[FINGERPRINT] != identity.digest
    if is_stale or run.force:
        build()
    shown = {
        name: value
        for name, value in (information_of(directory) or {}).items()
        if isinstance(value, str | int | float)
    }
    return dg.MaterializeResult(
        # An unchanged index makes nothing downstream stale when it is materialised again.
        data_version=dg.DataVersion(identity.digest),
        metadata={
            **({"dagster/row_count": shown["passages"]} if shown else {}),
            "state": DONE if is_stale or run.force else UP_TO_DATE,
            "source": run.settings.wikipedia_index.source,
            "directory": dg.MetadataValue.path(str(directory)),
            **({"articles": str(articles)} if articles and articles.records else {}),
            **shown,
        },
    )


@asset_of(WIKIPEDIA_INDEX)
def wikipedia_index(run: Run) -> dg.MaterializeResult:
    """Lucene index (Pyserini BM25) over the passages of Wikipedia articles."""
    loaded, home = run.settings, run.home
    files = article_files(loaded)
    identity = wikipedia_index_fingerprint(loaded, files)
    progress = progress_of("indexing passages", run.log)
    articles = Tally()
    return refresh_index(
        run,
        home.wikipedia_index,
        identity,
        index_information,
        lambda: build_index(
            article_passages(files, loaded, articles),
            home.wikipedia_index,
            fingerprint=identity.digest,
            language=loaded.wikipedia_index.language,
            progress=lambda done: progress(done, None),
        ),
        articles,
    )
