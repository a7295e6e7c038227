"""The Wikipedia index that WikiSearch and QA search (paper §3)."""

import importlib.metadata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
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
from toolformer.sources.articles import read_articles
from toolformer.sources.files import SourceFile, detect_format, file_identity, list_files
from toolformer.sources.reasons import Tally
from toolformer.sources.source import Source
from tools.retrieval.passages import Passage, split_passages
from tools.retrieval.wikipedia_index import build_index, index_information

WIKIPEDIA_INDEX = Stage(
    name="wikipedia_index",
    version="4",
    group="prepare",
    kinds=("lucene", "java"),
    settings=("wikipedia_index.passage_words", "wikipedia_index.language"),
    parts=(Part("dump", ("wikipedia_index.source",)),),
)


def dump_files(settings: Settings) -> list[SourceFile]:
    """The files of the Wikipedia dump to index, or of its articles as JSON lines.

    Raises:
        SourceError: there is no such dump.
    """
    path = settings.wikipedia_index.source
    # A dump may have any name; JSON lines say so.
    file_format = "jsonl" if detect_format(path) == "jsonl" else "wikipedia-dump"
    return list_files(Source(path, format=file_format, shard_size=1))


def dump_passages(
    files: Iterable[SourceFile], settings: Settings, tally: Tally | None = None
) -> Iterator[Passage]:
    """The passages of the articles of a dump, in the same order every time, numbered from 0.

    The tally counts the pages of a dump, those that are left out with the reason.
    """
    articles = chain.from_iterable(read_articles(file, tally) for file in files)
    numbers = count()
    for article in articles:
        yield from split_passages(
            article.title,
            [(section.heading, section.text) for section in article.sections],
            article.url,
            numbers=numbers,
            max_words=settings.wikipedia_index.passage_words,
        )


def wikipedia_index_fingerprint(settings: Settings, files: Sequence[SourceFile]) -> Fingerprint:
    """What the index over `dump_files` depends on.

    Raises:
        SourceError: a file cannot be read.
    """
    dump = [file_identity(file) for file in files]
    # Another release may read markup otherwise; JSON lines have none.
    if files[0].format == "wikipedia-dump":
        dump.append(f"mwparserfromhell={importlib.metadata.version('mwparserfromhell')}")
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
