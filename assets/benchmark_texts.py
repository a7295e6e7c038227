"""What is measured on, as texts: no text that is trained on may share words with it.

Does not compare texts, and does not run benchmarks.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dagster_project.settings.sections import Settings
from toolformer.evaluation.dateset import generate_dateset
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
    """The texts of every benchmark that the settings name.

    Perplexity is measured on the held-out shards, which are kept out whatever is measured.
    """
    seed = settings.evaluation.seed
    known = {
        "perplexity": BenchmarkTexts(None, lambda: ()),
        # All questions that there can be, however many are asked.
        "dateset": BenchmarkTexts(
            seed, lambda: (item.question for item in generate_dateset(seed=seed))
        ),
    }
    return {name: known[name] for name in settings.evaluation.benchmarks}


def held_out_ngrams(
    warehouse: Warehouse, held_out_shards: Sequence[str], benchmarks: Mapping[str, BenchmarkTexts]
) -> NgramIndex:
    """The word sequences of the held-out shards and of these benchmarks."""
    index = NgramIndex()
    for shard in held_out_shards:
        for text in warehouse.read_slice("documents", shard, ALL)["text"]:
            index.add(HELD_OUT_SHARDS, text)
    for name, benchmark in benchmarks.items():
        for text in benchmark.read():
            index.add(name, text)
    return index
