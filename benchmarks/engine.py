"""Times our engine against a batched literal one on real documents.

(a) batched literal: every sample carries its full prompt, left-padded batches of 16, all three
losses per call in rows as they arise, logits of the whole vocabulary; (a') the same with scoring
rows sorted by length; (b) ours. In one process, in turns, on the same documents. Each tool twice:
in a first round, and in a later one, whose calls are sampled without the prompt and scored at their
places in the text. Texts and model are the same.

    python -m benchmarks.engine [--quick] [--json FILE] [--documents FILE] [--model DIR]

The documents are the first 16 (WikiSearch) and 4 (Calculator) with at least 4 numbers, cut to 256
tokens. Temperature 1, at most 24 new tokens, the k most probable positions whatever τ_s, the tool's
name forced, results a fixed function of the arguments. The literal engine stops a sample at a token
that holds `)` or `]`; ours at the bracket that closes the call, a line break or `[`. Whether both
compute the same is what `toolformer doctor --model` and the tests tell.
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
    """Run the measurement and print its tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="model directory; default: the embedded one")
    parser.add_argument(
        "--documents",
        type=Path,
        help="JSON lines with a field text; default: web_docs in TOOLFORMER_TEST_DATA, else the "
        "embedded starter texts",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="1 document of 96 tokens, k=4, m=2: a minute or two, for a look only",
    )
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args(arguments)
    # The file is written at the very end; what is wrong with its place is told now.
    if options.json is not None and not options.json.parent.is_dir():
        parser.error(f"--json: there is no folder {options.json.parent}")
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
    """Once through both engines untimed: the first call of a kernel is slow."""
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
        "Tokens fed count padding. Ours is scored with L(ε) of whole documents, which the tools of "
        f"a run share. {figures['seconds']:.0f} s in all."
    )
    if figures["quick"]:
        console.say("A quick run: its figures say that everything works, and nothing more.")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
