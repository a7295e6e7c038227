"""The index of dense passage vectors that QA searches beside BM25 (paper §3, Atlas)."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from assets.search_index import dump_files, dump_passages, refresh_index
from assets.shard_stage import expected_errors
from dagster_project.fingerprints import CODE_VERSIONS, Fingerprint, fingerprint
from dagster_project.home import Home
from dagster_project.progress import progress_of
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.settings import SettingsResource
from dagster_project.settings.sections import Settings
from dagster_project.wiring.retriever import needs_passage_index
from toolformer.sources.files import SourceFile, file_identity
from tools.retrieval.dense_index import (
    DenseBuild,
    PassageEncoder,
    build_dense_index,
    dense_index_information,
)
from tools.retrieval.dense_vectors import DenseIndexKind
from tools.retrieval.encoder import TextEncoder, encoder_identity
from tools.retrieval.latent_vectors import LatentVectors

LATENT = "latent"
NOT_NEEDED = "not needed: question_answering.retriever is bm25, which reads no vectors"


@dg.asset(
    group_name="prepare",
    kinds={"faiss", "python"},
    deps=["wikipedia_index"],
    code_version=CODE_VERSIONS["passage_index"],
)
def passage_index(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    language_model: LanguageModelResource,
) -> dg.MaterializeResult:
    """A FAISS index of dense vectors over the passages that the Wikipedia index holds.

    It is built where `question_answering.retriever` is `dense` or `hybrid`. Under `bm25` nothing
    reads it: then this only says so, and an index that is there stays as it is.
    """
    with expected_errors():
        loaded, home = settings.load(), settings.home()
        if not needs_passage_index(loaded):
            return dg.MaterializeResult(metadata={"state": NOT_NEEDED})
        files, chosen = dump_files(loaded), loaded.passage_index
        identity = passage_index_fingerprint(loaded, files)
        build = DenseBuild(
            fingerprint=identity.digest,
            make_encoder=lambda texts: _encoder(texts, loaded, home, language_model),
            sample_passages=chosen.sample_passages,
            chunk_passages=chosen.chunk_passages,
            kind=DenseIndexKind(chosen.flat_limit, chosen.code_bytes),
            seed=chosen.seed,
            device=lambda: language_model.holder().hold_device(loaded, home),
        )
        return refresh_index(
            settings,
            home,
            home.passage_index,
            identity,
            dense_index_information,
            lambda: build_dense_index(
                dump_passages(files, loaded),
                home.passage_index,
                build,
                progress=progress_of("encoding passages", context.log),
                lock=home.index_lock(home.passage_index),
            ),
        )


def passage_index_fingerprint(settings: Settings, files: Sequence[SourceFile]) -> Fingerprint:
    """What the index depends on.

    Args:
        settings: say how passages are cut and encoded.
        files: of the dump; see `dump_files`.

    Raises:
        SourceError: a file cannot be read.
        ToolError, OSError: the encoder cannot be read.
    """
    chosen = settings.passage_index
    is_latent = chosen.encoder == LATENT
    return fingerprint(
        "passage_index",
        dump=[file_identity(file) for file in files],
        passage_words=settings.wikipedia_index.passage_words,
        # How far a kill sets the build back changes nothing in it.
        settings=chosen.model_dump(exclude={"chunk_passages"}),
        encoder=None if is_latent else encoder_identity(Path(chosen.encoder)),
    )


def _encoder(
    texts: Sequence[str], settings: Settings, home: Home, language_model: LanguageModelResource
) -> PassageEncoder:
    chosen = settings.passage_index
    if chosen.encoder == LATENT:
        return LatentVectors.fit(
            texts, dimension=chosen.dimension, most_terms=chosen.most_terms, seed=chosen.seed
        )
    return TextEncoder(
        Path(chosen.encoder),
        similarity=chosen.similarity,
        most_tokens=chosen.encoder_tokens,
        device=language_model.holder().hold_device(settings, home),
    )
