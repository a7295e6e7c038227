"""The Wikipedia index that WikiSearch and QA search (paper §3)."""

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg

from assets.outputs import DONE, UP_TO_DATE
from assets.run import Run
from assets.stage import Part, Stage
from assets.stage_asset import asset_of
from toolformer.home.fingerprints import FINGERPRINT, Fingerprint
from toolformer.home.progress import progress_of
from toolformer.home.settings.sections import Settings
from toolformer.sources.files import SourceFile, file_identity, list_files
from toolformer.sources.readers import read_documents
from toolformer.sources.reasons import Tally
from toolformer.sources.records import ParsedDocument, Rejection
from toolformer.sources.source import WIKIPEDIA_EXCERPT, Source
from tools.retrieval.passages import Passage, split_passages
from tools.retrieval.wikipedia_index import build_index, index_information

WIKIPEDIA_INDEX = Stage(
    name="wikipedia_index",
    version="5",
    group="prepare",
    kinds=("lucene", "java"),
    settings=("wikipedia_index.passage_words", "wikipedia_index.language"),
    parts=(Part("dump", ("wikipedia_index.source",)),),
)


def _source(settings: Settings) -> Source:
    return Source(settings.wikipedia_index.source, shard_size=1)


def dump_files(settings: Settings) -> list[SourceFile]:
    """The files of the articles to index.

    Raises:
        SourceError: there are none.
    """
    return list_files(_source(settings))


def dump_passages(
    files: Sequence[SourceFile], settings: Settings, tally: Tally | None = None
) -> Iterator[Passage]:
    """The passages of the articles, in the same order every time, numbered from 0.

    The tally counts the articles, and the records that give none with the reason.
    """
    numbers = count()
    for article in read_documents(_source(settings), list(files)):
        if tally is not None:
            tally.count(article.reason if isinstance(article, Rejection) else None)
        if isinstance(article, ParsedDocument):
            yield from split_passages(
                article.title or "",
                [("", article.text)],
                article.url or "",
                numbers=numbers,
                max_words=settings.wikipedia_index.passage_words,
            )


def wikipedia_index_fingerprint(settings: Settings, files: Sequence[SourceFile]) -> Fingerprint:
    """What the index over `dump_files` depends on.

    Raises:
        SourceError: a file cannot be read.
    """
    dump = [file_identity(file) for file in files]
    # Another release may read markup otherwise.
    if files[0].format == WIKIPEDIA_EXCERPT:
        dump.append(f"gensim={importlib.metadata.version('gensim')}")
    return WIKIPEDIA_INDEX.fingerprint(settings, {"dump": dump})


def refresh_index(
    run: Run,
    directory: Path,
    identity: Fingerprint,
    information_of: Callable[[Path], Mapping[str, Any] | None],
    build: Callable[[], object],
    pages: Tally | None = None,
) -> dg.MaterializeResult:
    """Build an index unless it is there with the same fingerprint, and show its `index.json`.

    Of a dump it also shows the pages that `build` has counted.

    Of two builds at once one waits for the lock of the index.
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
        # Materialised again, an index that is the same makes nothing behind it stale.
        data_version=dg.DataVersion(identity.digest),
        metadata={
            **({"dagster/row_count": shown["passages"]} if shown else {}),
            "state": DONE if is_stale or run.force else UP_TO_DATE,
            "source": run.settings.wikipedia_index.source,
            "directory": dg.MetadataValue.path(str(directory)),
            **({"pages": str(pages)} if pages and pages.records else {}),
            **shown,
        },
    )


@asset_of(WIKIPEDIA_INDEX)
def wikipedia_index(run: Run) -> dg.MaterializeResult:
    """A Lucene index (Pyserini BM25) over the passages of a Wikipedia dump."""
    loaded, home = run.settings, run.home
    files = dump_files(loaded)
    identity = wikipedia_index_fingerprint(loaded, files)
    progress = progress_of("indexing passages", run.log)
    pages = Tally()
    return refresh_index(
        run,
        home.wikipedia_index,
        identity,
        index_information,
        lambda: build_index(
            dump_passages(files, loaded, pages),
            home.wikipedia_index,
            fingerprint=identity.digest,
            language=loaded.wikipedia_index.language,
            progress=lambda done: progress(done, None),
        ),
        pages,
    )
