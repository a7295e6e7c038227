"""Reads the texts of the benchmarks, with which no training text may share word sequences."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from assets.identities import identity_or_none
from toolformer.base.digests import hex_digest_of_file
from toolformer.evaluation.benchmarks.benchmark import BenchmarkEntry, BenchmarkItem
from toolformer.evaluation.benchmarks.dateset import Dateset
from toolformer.home.wiring.benchmarks import (
    configured_benchmark,
    identity_of,
    read_text,
    text_file,
)
from toolformer.settings.evaluation_sections import DATESET, PERPLEXITY
from toolformer.settings.sections import Settings
from toolformer.training.shared_words import NgramIndex
from toolformer.training.training_set import text_in_context
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

HELD_OUT_SHARDS = "held_out_shards"


@dataclass(frozen=True, slots=True)
class BenchmarkTexts:
    """Texts of one benchmark.

    Attributes:
        identity: what the texts depend on besides the code, as JSON values for fingerprints.
        are_questions: whether they are bare questions or statements. Short ones are then held out
            inside longer texts too.
    """

    identity: object
    read: Callable[[], Iterable[str]]
    are_questions: bool = True


def benchmark_texts(settings: Settings) -> dict[str, BenchmarkTexts]:
    """Return the texts of every benchmark in the settings, whether or not it is run.

    Perplexity has none here: its held-out shards are always kept out of training.
    """
    return {name: texts_of_benchmark(name, settings) for name in _named(settings)}


def benchmark_identities(
    settings: Settings, names: Iterable[str] | None = None
) -> dict[str, object]:
    """Return what benchmark texts depend on, by default all; None if a benchmark lacks a file."""
    return {
        name: identity_or_none(lambda name=name: texts_of_benchmark(name, settings).identity)
        for name in names or _named(settings)
    }


def _named(settings: Settings) -> Iterable[str]:
    evaluation = settings.evaluation
    given = (*evaluation.files, *evaluation.questions, *evaluation.texts)
    return dict.fromkeys((*evaluation.benchmarks, *given))


def texts_of_benchmark(name: str, settings: Settings) -> BenchmarkTexts:
    if name == PERPLEXITY:
        return BenchmarkTexts(None, lambda: ())
    if name == DATESET:
        # Hold out all possible questions, however many are asked.
        seed = settings.evaluation.seed
        return BenchmarkTexts(seed, lambda: _bare_texts(Dateset(seed=seed).items()))
    if name in settings.evaluation.texts:
        identity = hex_digest_of_file(text_file(name, settings))
        return BenchmarkTexts(identity, lambda: [read_text(name, settings)], are_questions=False)
    benchmark = configured_benchmark(name, settings)
    return BenchmarkTexts(identity_of(benchmark), lambda: _bare_texts(benchmark.items()))


def _bare_texts(entries: Iterable[BenchmarkEntry]) -> Iterator[str]:
    return chain.from_iterable(
        entry.bare_texts for entry in entries if isinstance(entry, BenchmarkItem)
    )


def held_out_ngrams(
    warehouse: Warehouse, held_out_shards: Sequence[str], benchmarks: Mapping[str, BenchmarkTexts]
) -> NgramIndex:
    """Index the word sequences of the held-out shards, with contexts, and of these benchmarks."""
    index = NgramIndex()
    for shard in held_out_shards:
        documents = warehouse.read_partition("documents", shard, ALL)
        for context, text in documents.select("context", "text").iter_rows():
            index.add(HELD_OUT_SHARDS, text_in_context(context, text))
    for name, benchmark in benchmarks.items():
        add_benchmark(index, name, benchmark)
    return index


def add_benchmark(index: NgramIndex, name: str, benchmark: BenchmarkTexts) -> None:
    add = index.add_question if benchmark.are_questions else index.add
    for text in benchmark.read():
        add(name, text)
