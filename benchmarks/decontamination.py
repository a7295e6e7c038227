"""Measures how many benchmark items are kept out of training if a text contains them.

The question or statement of each item (for MLQA also the paragraph) is put into a training text in
several ways: unchanged, or changed as in copies on the web. Each column shows the share of items
whose text is left out. The last column counts real documents that are left out because they share
words with the benchmark. If they do not contain its items, that is the false-positive rate.

    python -m benchmarks.decontamination SETTINGS [TEXTS]

SETTINGS is a toolformer.yaml with `evaluation.benchmarks` and `evaluation.files`. TEXTS is a
JSON-lines file with a field `text`; default: the web documents in TOOLFORMER_TEST_DATA.
"""

import argparse
import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from assets.training.benchmark_texts import BenchmarkTexts, add_benchmark, benchmark_texts
from benchmarks.workload import test_data_file
from toolformer.settings.settings_file import load_settings
from toolformer.training.shared_words import NgramIndex
from toolformer.training.training_set import AugmentedText, TrainingTextFilter

_OTHER_WORDS = "The ferry leaves at noon, and whoever waits on the quay has brought bread."
WAYS: Mapping[str, Callable[[str], tuple[str | None, str]]] = {
    "as context": lambda item: (item, _OTHER_WORDS),
    "as text": lambda item: (None, item),
    "inside a text": lambda item: ("Who waits?", _inside(item)),
    "no apostrophes": lambda item: (None, _inside(re.sub("['’]", "", item))),
    "no hyphens": lambda item: (None, _inside(item.replace("-", ""))),
    "neither": lambda item: (None, _inside(re.sub("['’-]", "", item))),
    "blanks for both": lambda item: (None, _inside(re.sub("['’-]", " ", item))),
    "tokenised": lambda item: (None, _inside(re.sub(r"(?<=\w)(n['’]t|['’]s)\b", r" \1", item))),
}


def _inside(item: str) -> str:
    return f"{_OTHER_WORDS} {item} {_OTHER_WORDS}"


def shares_found(benchmark: BenchmarkTexts) -> dict[str, float]:
    """Return the share of items whose text is left out of training, per way."""
    text_filter = _text_filter({"benchmark": benchmark})
    items = list(dict.fromkeys(benchmark.read()))
    return {
        way: sum(_overlap(text_filter, *embed(item)) is not None for item in items) / len(items)
        for way, embed in WAYS.items()
    }


def texts_left_out(benchmarks: Mapping[str, BenchmarkTexts], texts: Iterable[str]) -> Counter[str]:
    """Count the texts that share words with each benchmark; only a text's first one counts."""
    text_filter = _text_filter(benchmarks)
    overlaps = (_overlap(text_filter, None, text) for text in dict.fromkeys(texts))
    return Counter(name for name in overlaps if name is not None)


def _text_filter(benchmarks: Mapping[str, BenchmarkTexts]) -> TrainingTextFilter:
    index = NgramIndex()
    for name, benchmark in benchmarks.items():
        add_benchmark(index, name, benchmark)
    return TrainingTextFilter(index, near_duplicate_similarity=None)


def _overlap(text_filter: TrainingTextFilter, context: str | None, text: str) -> str | None:
    exclusion = text_filter.exclusion_of(
        AugmentedText("document", 0, "shard-00000", text, (), 1, context)
    )
    return exclusion and exclusion.held_out_set


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", type=Path)
    parser.add_argument("texts", type=Path, nargs="?")
    arguments = parser.parse_args()
    source = arguments.texts or test_data_file("web_docs")
    opened = gzip.open if source.suffix == ".gz" else open
    with opened(source, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    benchmarks = benchmark_texts(load_settings(arguments.settings))
    left_out = texts_left_out(benchmarks, texts)
    table = Table("benchmark", "items", *WAYS, f"of {len(texts)} other texts")
    for name, benchmark in benchmarks.items():
        if items := set(benchmark.read()):
            shares = [f"{share:.2%}" for share in shares_found(benchmark).values()]
            table.add_row(name, str(len(items)), *shares, str(left_out[name]))
    Console().print(table)


if __name__ == "__main__":
    main()
