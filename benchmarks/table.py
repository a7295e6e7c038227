"""Measures a table tool with millions of rows: building its index, and answering calls.

The rows are random: three facts per person, whose name has three words. The tool runs in its own
process, once without an index and once with one. Its calls name people exactly as the table, in
lower case without accents, and people who are not in the table. Proposals are for texts of about
200 words that name six people with one value each.

    python -m benchmarks.table [--rows 5000000] [--calls 200] [--work FOLDER] [--json FILE]
"""

import argparse
import itertools
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

_SYLLABLES = (
    "bak",
    "ro",
    "mi",
    "ten",
    "kal",
    "or",
    "vin",
    "dus",
    "pe",
    "lam",
    "gri",
    "jén",
    "qui",
    "zar",
)
_FIRST, _LAST = 2_000, 20_000
_RELATIONS = ("place of birth", "year of birth", "occupation")
_MENTIONS = 6
_FILLER = "It was a long day in the valley, and nobody there had thought of rain before the evening"


def people() -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Yield names and facts of invented people without end, always in the same order."""
    numbers = random.Random(0)
    first, last = (
        ["".join(numbers.choices(_SYLLABLES, k=syllables)).capitalize() for _ in range(count)]
        for syllables, count in ((2, _FIRST), (4, _LAST))
    )
    while True:
        name = " ".join(map(numbers.choice, (first, first, last)))
        yield name, (numbers.choice(last), str(numbers.randint(1800, 2000)), "painter")


def draw_table(file: Path, rows: int) -> None:
    facts = (
        f"{name},{relation},{value}\n"
        for name, values in people()
        for relation, value in zip(_RELATIONS, values, strict=True)
    )
    with file.open("w", encoding="utf-8") as stream:
        stream.write("subject,relation,object\n")
        stream.writelines(itertools.islice(facts, rows))


def ask(file: Path, calls: int) -> dict[str, float]:
    """Call a new tool in this process, and return medians and 99th percentiles per kind of call."""
    began = time.perf_counter()
    # The imports count.
    from tools.plugins.table_names import folded
    from tools.plugins.table_tool import TableTool
    from tools.protocol import Document

    folder = str(file.parent)
    key, no_text = ["subject", "relation"], Document("", "")
    tool = TableTool("Facts", file.name, key, ["object"], folder=folder, index_folder=folder)
    asked = list(itertools.islice(people(), calls))
    tool.call(f"{asked[0][0]}, occupation", no_text)
    measured = {"first_answer_seconds": time.perf_counter() - began}
    spellings: dict[str, Callable[[str], str]] = {
        "exact": str,
        "folded": folded,
        "not_found": lambda name: f"{name}ox",
    }
    for kind, spell in spellings.items():
        calls_of_kind = [f"{spell(name)}, year of birth" for name, _ in asked]
        measured |= _timed(
            kind, [lambda each=each: tool.call_batch([(each, no_text)]) for each in calls_of_kind]
        )
    documents = [
        Document("", _text(asked[start : start + _MENTIONS]))
        for start in range(0, calls - _MENTIONS, _MENTIONS)
    ]
    return measured | _timed(
        "proposals", [lambda each=each: tool.proposals(each) for each in documents]
    )


def _text(named: Sequence[tuple[str, tuple[str, str, str]]]) -> str:
    return " ".join(
        f"{_FILLER}, said {name}, born in {town}. {_FILLER}." for name, (town, _, _) in named
    )


def _timed(kind: str, actions: Sequence[Callable[[], object]]) -> dict[str, float]:
    milliseconds = []
    for action in actions:
        began = time.perf_counter()
        action()
        milliseconds.append(1000 * (time.perf_counter() - began))
    return {
        f"{kind}_milliseconds": statistics.median(milliseconds),
        f"{kind}_milliseconds_99": statistics.quantiles(milliseconds, n=100)[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--work", type=Path, help="empty folder; default: a temporary one")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--ask", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ask:
        measured = ask(arguments.ask, arguments.calls)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps({**measured, "peak_memory_gib": memory}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        file = (arguments.work or Path(temporary)) / "facts.csv"
        draw_table(file, arguments.rows)
        command = [sys.executable, "-m", "benchmarks.table", "--ask", str(file)]
        command += ["--calls", str(arguments.calls)]
        results = [
            json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            for _ in range(2)
        ]
        measured = {
            "rows": arguments.rows,
            "table_mb": file.stat().st_size / 10**6,
            "index_mb": next(file.parent.glob("Facts.*.sqlite")).stat().st_size / 10**6,
            "making_the_index": {
                name: results[0][name] for name in ("first_answer_seconds", "peak_memory_gib")
            },
            "with_the_index": results[1],
        }
    text = json.dumps(measured, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
