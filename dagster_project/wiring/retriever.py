"""What question answering finds passages with: BM25, dense vectors, or both (paper §3, Atlas).

Opens no index: each is opened at the first question.
"""

from collections.abc import Collection

from dagster_project.home import Home
from dagster_project.settings.sections import Settings
from dagster_project.wiring.model_holder import ModelHolder, process_holder
from tools.retrieval.dense_ranking import PassageVectors
from tools.retrieval.hybrid_ranking import DenseRetriever, HybridRetriever
from tools.retrieval.passage_ranking import PassageRanker
from tools.retrieval.retrieval_tool import Retriever

# Their indexes are made by `prepare`.
SEARCHING_TOOLS = ("WikiSearch", "QA")
# Java threads of a batch of questions; rankings do not depend on it.
_THREADS = 2


def open_retriever(settings: Settings, home: Home, holder: ModelHolder | None = None) -> Retriever:
    """The retriever that the settings name; `holder` has the device, by default the process's."""
    chosen = settings.question_answering
    is_bm25 = chosen.retriever == "bm25"
    ranker = PassageRanker(
        home.open(home.wikipedia_index),
        k1=chosen.k1,
        b=chosen.b,
        threads=_THREADS,
        # The other retrievers have scores, and temperatures, of their own.
        temperature=chosen.bm25_temperature if is_bm25 else 1.0,
    )
    if is_bm25:
        return ranker
    vectors = PassageVectors(
        home.open(home.passage_index),
        device=lambda: (holder or process_holder()).hold_device(settings, home),
    )
    retriever = DenseRetriever if chosen.retriever == "dense" else HybridRetriever
    return retriever(ranker, vectors)


def searching_tools(settings: Settings, named: Collection[str] = ()) -> list[str]:
    """The tools of a run that search Wikipedia.

    Args:
        settings: of the run.
        named: tools that the user asked for; where none was, those that are enabled.
    """
    return [
        name
        for name in SEARCHING_TOOLS
        if (name in named if named else settings.tools.of(name).is_enabled)
    ]


def tools_searching(index: str, settings: Settings, named: Collection[str] = ()) -> list[str]:
    """The tools of a run that search an index, `wikipedia_index` or `passage_index`.

    Args:
        index: name of its asset.
        settings, named: as of `searching_tools`.
    """
    found = searching_tools(settings, named)
    if index == "wikipedia_index":
        return found
    return [name for name in found if searches_vectors(settings, name)]


def searches_vectors(settings: Settings, name: str) -> bool:
    """Whether the settings let one of `SEARCHING_TOOLS` search dense vectors."""
    if name == "QA":
        return settings.question_answering.retriever != "bm25"
    return settings.tools.WikiSearch.options.get("retriever") == "hybrid"


def needs_passage_index(settings: Settings, named: Collection[str] = ()) -> bool:
    """Whether a tool of a run searches dense vectors; the arguments as of `searching_tools`."""
    return bool(tools_searching("passage_index", settings, named))
