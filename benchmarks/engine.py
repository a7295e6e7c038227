"""Compares the speed of our engine with a batched literal port on real documents.

(a) Batched literal: full prompt per sample, left-padded batches of 16, all three losses per call in
    unsorted rows, logits of the whole vocabulary.
(a') The same, but scored rows are sorted by length.
(b) Our engine.

The engines take turns in one process, with the same model and documents. Each tool is measured
twice: in a first round, and in a later round, in which calls are sampled without the prompt and
scored at their position in the text.

    python -m benchmarks.engine [--quick] [--json FILE] [--documents FILE] [--model DIR]

The documents are the first 16 (WikiSearch) or 4 (Calculator) with at least 4 numbers, cut to 256
tokens. Samples use temperature 1, at most 24 new tokens, the k most probable positions regardless
of τ_s, and a forced tool name. Results are a fixed function of the arguments. The literal engine
stops a sample at a token with `)` or `]`; ours stops at the bracket that closes the call, a line
break or `[`. `toolformer doctor --model` and the tests check that both compute the same.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

QUICK_TOKENS, DOCUMENT_TOKENS = 96, 256


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="model directory; default: the embedded one")
    parser.add_argument(
        "--documents",
        type=Path,
        help="JSON-lines file with a field text; default: web_docs in TOOLFORMER_TEST_DATA, else "
        "the embedded starter texts",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="only test that everything works: 1 document of 96 tokens, k=4, m=2 (1 to 2 minutes)",
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args(arguments)
    # The file is only written at the end, but a wrong folder should fail at once.
    if options.json is not None and not options.json.parent.is_dir():
        parser.error(f"--json: the folder {options.json.parent} does not exist")
    figures = _measure(options)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.batched_literal import LiteralEngine, load_stock_model
    from benchmarks.engine_report import tool_figures
    from benchmarks.machine import load_faster, machine, versions
    from benchmarks.schedule import Schedule
    from benchmarks.workload import (
        RESULT_TOKENS,
        SAMPLING,
        default_documents_file,
        later_round,
        paper_workloads,
        quick_workloads,
        read_documents,
    )
    from toolformer.forward.embedded_model import ensure_embedded_model
    from toolformer.home.home import Home

    began = time.monotonic()
    path = options.model or ensure_embedded_model(Home.find().converted_models)
    model = load_faster(path)
    stock_model = load_stock_model(path, precision=model.precision)
    stock = LiteralEngine(stock_model, model.tokenizer, bos_id=model.bos_id)
    file = options.documents or default_documents_file()
    first_rounds = quick_workloads() if options.quick else paper_workloads()
    tools = [each for tool in first_rounds for each in (tool, later_round(tool))]
    documents = read_documents(
        file,
        model.tokenizer,
        count=max(tool.documents for tool in tools),
        document_tokens=QUICK_TOKENS if options.quick else DOCUMENT_TOKENS,
    )
    _say(f"{model.name} in {model.precision}, {len(documents)} documents of {file}")
    schedule = Schedule(model, stock, documents, _say)
    for tool in tools[:2]:
        _warm_up(schedule, tool)
    measured = [schedule.run(tool) for tool in tools]
    figures = {
        "machine": machine(),
        "versions": versions(),
        "quick": options.quick,
        "model": str(path),
        "documents": str(file),
        "seed": SAMPLING.seed,
        "result_tokens": RESULT_TOKENS,
        "seconds": time.monotonic() - began,
        "tools": {costs.tool.title: tool_figures(costs) for costs in measured},
    }
    _print_report(figures, measured)
    return figures


def _warm_up(schedule: Any, tool: Any) -> None:
    # The first call of a kernel is slow, so both engines run once without being timed.
    short = "Input: {text}\nOutput:" if tool.prompt is not None else None
    small = replace(tool, prompt=short, positions_per_text=1, calls_per_position=2, documents=1)
    schedule.run(small)


def _print_report(figures: dict[str, Any], measured: list[Any]) -> None:
    from benchmarks.engine_report import stage_table, summary_table
    from dagster_project.commands import console

    machine = figures["machine"]
    console.heading("Machine")
    console.say(
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads, "
        f"{machine['memory_gib']} GiB"
    )
    console.say(", ".join(f"{name} {number}" for name, number in figures["versions"].items()))
    for costs in measured:
        tool = costs.tool
        k, m = tool.positions_per_text, tool.calls_per_position
        console.heading(f"{tool.title}, k={k}, m={m}: positions and sampling")
        console.frame(stage_table(costs.sampling))
        console.heading(f"{tool.title}: scoring the same candidates")
        console.frame(stage_table(costs.scoring))
    console.heading("Both stages")
    console.frame(summary_table(figures["tools"]))
    console.say(
        "Tokens fed include padding. Our scoring includes L(ε) of whole documents, which the tools "
        f"of a run would share. The measurement took {figures['seconds']:.0f} s."
    )
    if figures["quick"]:
        console.say("This was a quick run. It shows that everything works, not how fast it is.")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
