"""How time and memory grow: with the number of documents, and with the length of one.

Each size is sampled and scored (WikiSearch, k=3, m=2, windows of 256 tokens) in a process of its
own, so that its peak memory is its own. Sizes are the same 8 documents once, twice, … under other
names, so the work is exactly that many times as much; the long documents are those texts joined,
with k=1 and m=1.

    python -m benchmarks.scaling [--json FILE] [--documents FILE] [--model DIR] [--quick]
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

BASE_DOCUMENTS, WINDOW_TOKENS = 8, 256
FACTORS, LONG_TOKENS = (1, 2, 4, 8), (10_000, 100_000)
QUICK_FACTORS, QUICK_LONG_TOKENS = (1, 2), (1_000, 4_000)


def main(arguments: list[str] | None = None) -> None:
    """Measure all sizes, or one of them in this process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="model directory; default: the embedded one")
    parser.add_argument("--documents", type=Path, help="JSON lines with a field text")
    parser.add_argument("--quick", action="store_true", help="two small sizes of each kind")
    parser.add_argument("--json", type=Path, help="write all figures there")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--factor", type=int, help="this many times the documents, in this process")
    size.add_argument("--long", type=int, help="one document of so many tokens, in this process")
    options = parser.parse_args(arguments)
    if options.factor or options.long:
        print(json.dumps(_measure(options)))
        return
    factors = QUICK_FACTORS if options.quick else FACTORS
    lengths = QUICK_LONG_TOKENS if options.quick else LONG_TOKENS
    rows = [
        *(_in_a_process(options, "--factor", factor) for factor in factors),
        *(_in_a_process(options, "--long", length) for length in lengths),
    ]
    _print_report(rows)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _in_a_process(options: argparse.Namespace, option: str, size: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.scaling", option, str(size)]
    for name in ("model", "documents"):
        if (value := getattr(options, name)) is not None:
            command += [f"--{name}", str(value)]
    print(f"{option[2:]} {size}", file=sys.stderr, flush=True)
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(answer.stdout)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    from benchmarks import ours
    from benchmarks.machine import load_faster, process_peak
    from benchmarks.workload import calls_to_score, default_documents_file, paper_workloads
    from dagster_project.home import Home
    from toolformer.forward.embedded_model import ensure_embedded_model

    model = load_faster(options.model or ensure_embedded_model(Home.find().converted_models))
    file = options.documents or default_documents_file()
    k, m = (1, 1) if options.long else (3, 2)
    tool = replace(paper_workloads()[0], positions_per_text=k, calls_per_position=m)

    def annotate(windows: Any) -> int:
        samples = ours.sample(model, tool, windows, windows_per_batch=BASE_DOCUMENTS)
        calls = calls_to_score(tool, samples, model.tokenizer)
        ours.score(model, tool, windows, calls)
        return len(calls)

    annotate(_documents(file, model.tokenizer, 1)[:1])  # the first call of a kernel is slow
    fed = model.tokens_fed
    windows = (
        _long_document(file, model.tokenizer, options.long)
        if options.long
        else _documents(file, model.tokenizer, options.factor)
    )
    began = time.perf_counter()
    candidates = annotate(windows)
    return {
        "kind": "one document" if options.long else "documents",
        "size": options.long or BASE_DOCUMENTS * options.factor,
        "windows": len(windows),
        "text_tokens": sum(len(window.ids) for window in windows),
        "candidates": candidates,
        "tokens_fed": model.tokens_fed - fed,
        "seconds": time.perf_counter() - began,
        "peak_gib": process_peak(),
    }


def _documents(file: Path, tokenizer: Any, factor: int) -> list[Any]:
    from benchmarks.workload import read_documents

    documents = read_documents(file, tokenizer, count=BASE_DOCUMENTS, document_tokens=WINDOW_TOKENS)
    return [
        replace(document, document_id=f"{document.document_id}-{copy}")
        for copy in range(factor)
        for document in documents
    ]


def _long_document(file: Path, tokenizer: Any, tokens: int) -> list[Any]:
    from benchmarks.workload import texts_with_numbers
    from toolformer.forward.windows import split_into_windows

    joined, held = [], 0
    for _, text in texts_with_numbers(file):
        joined.append(text)
        held += len(tokenizer.encode(text))
        if held >= tokens:
            break
    else:
        raise SystemExit(f"{file} holds {held} tokens; {tokens} are needed. Name a larger file.")
    return list(
        split_into_windows("long", "\n".join(joined), tokenizer, window_tokens=WINDOW_TOKENS)
    )


def _print_report(rows: list[dict[str, Any]]) -> None:
    import polars as pl

    from dagster_project.commands import console

    for kind in ("documents", "one document"):
        of_kind = [row for row in rows if row["kind"] == kind]
        smallest = of_kind[0]
        console.heading("Documents" if kind == "documents" else "One document, length in tokens")
        console.frame(
            pl.DataFrame(
                [
                    {
                        "size": row["size"],
                        "windows": row["windows"],
                        "candidates": row["candidates"],
                        "tokens fed": row["tokens_fed"],
                        "seconds": row["seconds"],
                        "s/window": row["seconds"] / row["windows"],
                        "time / linear": row["seconds"]
                        / row["windows"]
                        / (smallest["seconds"] / smallest["windows"]),
                        "peak GiB": row["peak_gib"],
                    }
                    for row in of_kind
                ]
            )
        )


if __name__ == "__main__":
    main()
