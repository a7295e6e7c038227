"""Builds the index of dense passage vectors, searched along with BM25 (paper §3, Atlas)."""

from collections.abc import Sequence

import dagster as dg

from assets.identities import identity_or_none
from assets.run import Run
from assets.search_index import (
    article_files,
    article_passages,
    articles_identity,
    refresh_index,
    wikipedia_index_fingerprint,
)
from assets.stage import FingerprintPart, Stage, always
from assets.stage_asset import asset_of
from toolformer.home.fingerprints import Fingerprint
from toolformer.home.home import Home
from toolformer.home.progress import progress_of
from toolformer.home.wiring.toolbox import tools_searching
from toolformer.settings.sections import Settings
from toolformer.sources.files import SourceFile
from tools.retrieval.index_folder import index_information
from tools.retrieval.passage_index import build_passage_index, open_encoder


def _known_encoder(settings: Settings, _home: Home) -> object:
    encoder = open_encoder(settings.passage_index.model_dump(), lambda: "cpu")
    searching = tools_searching(PASSAGE_INDEX.name, settings)
    return searching and identity_or_none(getattr, encoder, "identity")


PASSAGE_INDEX = Stage(
    name="passage_index",
    version="3",
    group="prepare",
    kinds=("faiss", "python"),
    reads=("wikipedia_index",),
    settings=("passage_index.index_factory",),
    parts=(
        FingerprintPart(
            "wikipedia_index", ("wikipedia_index",), code_version_value=articles_identity
        ),
        FingerprintPart(
            "encoder",
            ("passage_index", "question_answering.retriever"),
            code_version_value=_known_encoder,
        ),
    ),
    needs_device=always,
)

NOT_NEEDED = (
    "not needed: no tool of the run searches vectors (see question_answering.retriever for QA, "
    "tools.WikiSearch.options.retriever for WikiSearch)"
)


@asset_of(PASSAGE_INDEX)
def passage_index(run: Run) -> dg.MaterializeResult:
    """FAISS index of dense vectors over the passages of the Wikipedia index.

    It is built if a tool of the run searches it: QA unless `question_answering.retriever` is
    `bm25`, WikiSearch if `tools.WikiSearch.options.retriever` is `hybrid`. Otherwise the state says
    that it is not needed, and an existing index stays unchanged.
    """
    loaded, home = run.settings, run.home
    if not tools_searching(PASSAGE_INDEX.name, loaded, run.named_tools):
        return dg.MaterializeResult(metadata={"state": NOT_NEEDED})
    files = article_files(loaded)
    identity = passage_index_fingerprint(loaded, files)
    progress = progress_of("encoding passages", run.log)
    return refresh_index(
        run,
        home.passage_index,
        identity,
        index_information,
        lambda: build_passage_index(
            article_passages(files, loaded),
            home.passage_index,
            open_encoder(loaded.passage_index.model_dump(), run.hold_device),
            fingerprint=identity.digest,
            wikipedia_index=wikipedia_index_fingerprint(loaded, files).digest,
            index_factory=loaded.passage_index.index_factory,
            progress=lambda done: progress(done, None),
        ),
    )


def passage_index_fingerprint(settings: Settings, files: Sequence[SourceFile]) -> Fingerprint:
    """Return the fingerprint; raise SourceError, ToolError or OSError if a file is unreadable."""
    encoder = open_encoder(settings.passage_index.model_dump(), lambda: "cpu")
    return PASSAGE_INDEX.fingerprint(
        settings,
        {
            "wikipedia_index": wikipedia_index_fingerprint(settings, files).digest,
            "encoder": encoder.identity,
        },
    )
