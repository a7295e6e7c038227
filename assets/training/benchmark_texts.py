"""What is measured on, as texts: no text that is trained on may share words with it.

Does not compare texts, and does not run benchmarks.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dagster_project.settings.evaluation_sections import DATESET, PERPLEXITY
from dagster_project.settings.sections import Settings
from dagster_project.wiring.benchmarks import (
    configured_benchmark,
    identity_of,
    read_text,
    text_file,
)
from toolformer.evaluation.benchmarks.benchmark import BenchmarkItem
from toolformer.evaluation.benchmarks.dateset import Dateset
from toolformer.ground.digests import hex_digest_of_file
from toolformer.training.contexts import text_in_context
from toolformer.training.decontamination import NgramIndex
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

HELD_OUT_SHARDS = "held_out_shards"


@dataclass(frozen=True, slots=True)
class BenchmarkTexts:
    """The texts of one benchmark.

    Attributes:
        made_of: what they depend on besides the code, as values that JSON has; part of the
            training set's fingerprint.
        read: gives them.
    """

    made_of: object
    read: Callable[[], Iterable[str]]


def benchmark_texts(settings: Settings) -> dict[str, BenchmarkTexts]:
    """The texts of every benchmark that the settings name, whether it is run or not.

    Perplexity is measured on the held-out shards, which are kept out whatever is measured.

    Raises:
        ToolformerError: a file is missing.
    """
    evaluation = settings.evaluation
    given = (*evaluation.files, *evaluation.questions, *evaluation.texts)
    named = dict.fromkeys((*evaluation.benchmarks, *given))
    return {name: _texts_of(name, settings) for name in named}


def _texts_of(name: str, settings: Settings) -> BenchmarkTexts:
    if name == PERPLEXITY:
        return BenchmarkTexts(None, lambda: ())
    if name == DATESET:
        # All questions that there can be, however many are asked.
        seed = settings.evaluation.seed
        return BenchmarkTexts(seed, lambda: map(_text_of, Dateset(seed=seed).items()))
    if name in settings.evaluation.texts:
        identity = hex_digest_of_file(text_file(name, settings))
        return BenchmarkTexts(identity, lambda: [read_text(name, settings)])
    benchmark = configured_benchmark(name, settings)
    return BenchmarkTexts(
        identity_of(benchmark),
        lambda: (_text_of(item) for item in benchmark.items() if isinstance(item, BenchmarkItem)),
    )


def _text_of(item: BenchmarkItem) -> str:
    return item.prompt


def held_out_ngrams(
    warehouse: Warehouse, held_out_shards: Sequence[str], benchmarks: Mapping[str, BenchmarkTexts]
) -> NgramIndex:
    """The word sequences of the held-out shards, contexts included, and of these benchmarks."""
    index = NgramIndex()
    for shard in held_out_shards:
        documents = warehouse.read_slice("documents", shard, ALL)
        for context, text in documents.select("context", "text").iter_rows():
            index.add(HELD_OUT_SHARDS, text_in_context(context, text))
    for name, benchmark in benchmarks.items():
        for text in benchmark.read():
            index.add(name, text)
    return index
