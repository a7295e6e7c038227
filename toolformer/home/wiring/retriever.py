"""What question answering finds passages with: BM25, alone or with vectors (paper §3, Atlas).

Each index is opened at the first question.
"""

from collections.abc import Collection

from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.sections import Settings
from tools.retrieval.hybrid_ranking import HybridRetriever, PassageVectors
from tools.retrieval.passage_ranking import PassageRanker
from tools.retrieval.passages import BM25_B, BM25_K1
from tools.retrieval.retrieval_tool import Retriever

# Names of the assets that build them.
WIKIPEDIA_INDEX, PASSAGE_INDEX = "wikipedia_index", "passage_index"
SEARCHING_TOOLS = ("WikiSearch", "QA")
# Under BM25 alone: the difference of scores that makes a passage e times as probable to the reader.
BM25_TEMPERATURE = 3.0


def open_retriever(work: Workspace) -> Retriever:
    """The retriever that the settings name."""
    is_bm25 = work.settings.question_answering.retriever == "bm25"
    ranker = PassageRanker(
        work.home.wikipedia_index,
        k1=BM25_K1,
        b=BM25_B,
        # The other retriever has scores, and a temperature, of its own.
        temperature=BM25_TEMPERATURE if is_bm25 else 1.0,
    )
    if is_bm25:
        return ranker
    vectors = PassageVectors(work.home.passage_index, device=work.hold_device)
    return HybridRetriever(ranker, vectors)


def tools_searching(index: str, settings: Settings, named: Collection[str] = ()) -> list[str]:
    """The tools of a run that search an index of the home.

    Args:
        index: `WIKIPEDIA_INDEX` or `PASSAGE_INDEX`.
        named: tools that the user asked for; where none was, those that are enabled.
    """
    return [
        name
        for name in SEARCHING_TOOLS
        if (name in named if named else settings.tools.of(name).is_enabled)
        and (searches_vectors if index == PASSAGE_INDEX else _searches_articles)(settings, name)
    ]


def _searches_articles(settings: Settings, name: str) -> bool:
    """Whether one of `SEARCHING_TOOLS` searches the home's Lucene index, and none that existed."""
    return name == "QA" or "index_directory" not in settings.tools.WikiSearch.options


def searches_vectors(settings: Settings, name: str) -> bool:
    """Whether the settings let one of `SEARCHING_TOOLS` search dense vectors of the home."""
    if name == "QA":
        return settings.question_answering.retriever != "bm25"
    return settings.tools.WikiSearch.options.get("retriever") == "hybrid"
