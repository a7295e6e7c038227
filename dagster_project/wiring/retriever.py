"""What question answering finds passages with: BM25, dense vectors, or both (paper §3, Atlas).

Opens no index: each is opened at the first question.
"""

from dagster_project.home import Home
from dagster_project.settings.sections import Settings
from dagster_project.shared_files import bring
from dagster_project.wiring.model_holder import ModelHolder, process_holder
from tools.retrieval.dense_ranking import DenseRetriever
from tools.retrieval.hybrid_ranking import BM25Retriever, HybridRetriever
from tools.retrieval.passage_ranking import PassageRanker
from tools.retrieval.retrieval_tool import Retriever

# Java threads of a batch of questions; rankings do not depend on it.
_THREADS = 2


def open_retriever(settings: Settings, home: Home, holder: ModelHolder | None = None) -> Retriever:
    """The retriever that the settings name; `holder` has the device, by default the process's."""
    chosen = settings.question_answering
    bring(home, home.wikipedia_index)
    lexical = BM25Retriever(
        PassageRanker(home.wikipedia_index, k1=chosen.k1, b=chosen.b, threads=_THREADS),
        name=f"k1={chosen.k1:g} b={chosen.b:g}",
        temperature=chosen.bm25_temperature,
    )
    if chosen.retriever == "bm25":
        return lexical
    bring(home, home.passage_index)
    dense = DenseRetriever(
        home.passage_index,
        probes=chosen.probes,
        temperature=chosen.dense_temperature,
        device=lambda: (holder or process_holder()).hold_device(settings, home),
    )
    if chosen.retriever == "dense":
        return dense
    return HybridRetriever(
        (lexical, dense),
        weights=(1.0, chosen.dense_weight),
        constant=chosen.fusion_constant,
        depth=chosen.fused_passages,
    )


def needs_passage_index(settings: Settings) -> bool:
    """Whether the retriever of the settings searches dense vectors."""
    return settings.question_answering.retriever != "bm25"
