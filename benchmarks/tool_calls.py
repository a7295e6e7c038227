"""Times the tools: calls a second, searches a second, what a cache saves, building an index.

    python -m benchmarks.tool_calls [--home FOLDER] [--passages FILE] [--work FOLDER] [--json FILE]

Calls go through the same function as in a build, with deadline and cleaning. The home must have a
Wikipedia index (`toolformer build` or `make demo` makes it); queries are the first words of its own
source's passages. `--passages` (JSON lines with title and text; default: wiki_passages of the test
data) is indexed anew in a work folder.
"""

import argparse
import gzip
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.machine import machine, versions
from dagster_project.commands import console
from dagster_project.home import Home, home_folder
from tools.base import Tool
from tools.protocol import Document
from tools.registry import create_tool
from tools.retrieval.passage_ranking import PassageRanker
from tools.retrieval.passages import Passage
from tools.retrieval.wikipedia_index import build_index, index_information
from tools.running.deadlines import Limits
from tools.running.execution import execute_calls
from tools.running.result_cache import ResultCache

_LIMITS = Limits(deadline_seconds=10)
_CALLS = 10_000
_DEPTH = 5
_QUERY_WORDS = 4


def main(arguments: list[str] | None = None) -> None:
    """Run the measurement and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, default=home_folder(), help="with a Wikipedia index")
    parser.add_argument("--passages", type=Path, help="JSON lines with title and text")
    parser.add_argument("--work", type=Path, help="where the index and the caches are made")
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        figures = {
            "machine": machine(),
            "versions": versions(),
            "calls": list(_calls(Home(options.home), Path(folder))),
            "searches": _searches(Home(options.home)),
            "index": _index(options.passages or _default_passages(), Path(folder) / "index"),
        }
    for name in ("calls", "searches", "index"):
        console.heading(name.capitalize())
        rows: Any = figures[name]
        console.frame(pl.DataFrame(rows if isinstance(rows, list) else [rows]))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _calls(home: Home, folder: Path) -> Iterator[dict[str, Any]]:
    """Calls a second of each tool: without a cache, with an empty one, and once more with it."""
    index = str(home.wikipedia_index)
    queries = _queries(home)
    for tool, arguments in (
        (create_tool("Calculator"), [f"{n} * 7 / {n % 9}" for n in range(_CALLS)]),
        (create_tool("Calendar", {"date_source": "published_on"}), [""] * _CALLS),
        (create_tool("WikiSearch", {"index_directory": index}), queries),
    ):
        requests = [(text, Document("d", "A text.")) for text in arguments]
        execute_calls(tool, requests[:50], limits=_LIMITS)  # opens the index
        cache = ResultCache(folder / tool.name)
        run = partial(execute_calls, tool, requests, limits=_LIMITS)
        seconds = [_seconds(partial(run, cache=of)) for of in (None, cache, cache)]
        yield {
            "tool": tool.name,
            "calls": len(requests),
            "calls/s": len(requests) / seconds[0],
            "calls/s, filling a cache": len(requests) / seconds[1],
            "calls/s, from it": len(requests) / seconds[2],
            "found there": _hits(tool, requests, cache),
        }


def _hits(tool: Tool, requests: Sequence[tuple[str, Document]], cache: ResultCache) -> float:
    results = execute_calls(tool, requests, limits=_LIMITS, cache=cache)
    return sum(result.from_cache for result in results) / len(results)


def _searches(home: Home) -> dict[str, Any]:
    """BM25 over the embedded index, in one batch."""
    ranker = PassageRanker(home.wikipedia_index, k1=0.9, b=0.4, threads=2)
    queries = _queries(home)
    ranker.rank(queries[:50], _DEPTH)
    seconds = _seconds(lambda: ranker.rank(queries, _DEPTH))
    return {"queries": len(queries), "k": _DEPTH, "queries/s": len(queries) / seconds}


def _queries(home: Home) -> list[str]:
    """Distinct queries in the words of the index itself."""
    ranker = PassageRanker(home.wikipedia_index, k1=0.9, b=0.4, threads=2)
    queries: dict[str, None] = {}
    waiting = ["history", "river", "language", "war", "science", "music", "city", "number"]
    while waiting and len(queries) < _CALLS:
        for hits in ranker.rank(waiting, 50):
            for hit in hits:
                words = str(hit["text"]).split()
                for start in range(0, len(words) - _QUERY_WORDS, _QUERY_WORDS):
                    queries.setdefault(" ".join(words[start : start + _QUERY_WORDS]))
        waiting = list(queries)[-200:] if len(queries) > len(waiting) else []
    return list(queries)[:_CALLS]


def _index(file: Path, directory: Path) -> dict[str, Any]:
    """Reading the file and starting Java included."""
    began = time.perf_counter()
    build_index(_passages(file), directory, fingerprint="benchmark")
    seconds = time.perf_counter() - began
    information = index_information(directory)
    assert information is not None
    passages = information["passages"]
    return {
        "passages": passages,
        "seconds": seconds,
        "passages/s": passages / seconds,
    }


def _passages(file: Path) -> Iterator[Passage]:
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield Passage(str(row["id"]), row["title"], "", row["text"], "")


def _default_passages() -> Path:
    from benchmarks.workload import test_data_file

    return test_data_file("wiki_passages")


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
