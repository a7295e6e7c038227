"""Times our engine against the literal one, unbatched and batched, on real documents.

(a) literal, one row at a time; (b) batched literal: every sample carries its full prompt,
left-padded batches of 16, all three losses per call in rows as they arise, logits of the whole
vocabulary; (b') the same with scoring rows sorted by length; (c) ours. In one process, in turns.
Each tool twice: in a first round, and in a later one, whose calls are sampled without the prompt
and scored at their places in the text. Texts and model are the same.

    python -m benchmarks.engine [--quick] [--json FILE] [--documents FILE] [--model DIR]
                                [--tool NAME] [--result-tokens N]

The documents are the first 64 with at least 4 numbers, cut to 256 tokens: (c) runs on all, or on
as many as 45 minutes allow; (b) and (b') on the first 16 (WikiSearch) and 4 (Calculator), (a) on 2.
Every ratio compares the same documents. Temperature 1, at most 24 new tokens, the k most probable
positions whatever τ_s, the tool's name forced, results a fixed function of the arguments. The
literal engines stop a sample at a token that holds `)` or `]`; ours at the bracket that closes the
call, a line break or `[`.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

QUICK_DOCUMENTS, QUICK_TOKENS = 2, 96
DOCUMENTS, DOCUMENT_TOKENS = 64, 256
# Samples and calls of the unbatched engine do not depend on each other: it does a part of them.
LITERAL_EVERY, QUICK_LITERAL_EVERY = 10, 8
# Every loss of the literal side is a pass in float32 of its own.
AGREEMENT_DOCUMENTS, QUICK_AGREEMENT_DOCUMENTS = 2, 1
AGREEMENT_CALLS, QUICK_AGREEMENT_CALLS = 24, 2
# Seconds. On a slow machine ours runs on fewer than all documents; the tables give the number.
TIME_LIMIT = 40 * 60
_GEMM_REPEATS, _QUICK_GEMM_REPEATS = 15, 5


def main(arguments: list[str] | None = None) -> None:
    """Run the measurement and print its tables."""
    from benchmarks.workload import RESULT_TOKENS, paper_workloads

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
        help="2 documents of 96 tokens, k=4, m=2, baselines on 1: a minute or two, for a look only",
    )
    parser.add_argument(
        "--tool", choices=[tool.name for tool in paper_workloads()], help="this tool alone"
    )
    parser.add_argument(
        "--result-tokens",
        type=int,
        default=RESULT_TOKENS,
        metavar="N",
        help="where invented results are cut; shorter ones leave more to save (default: %(default)s"
        ", as the laptop preset does)",
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
    from benchmarks.engine_report import Peak, tool_figures
    from benchmarks.machine import (
        gemm_peak,
        load_faster,
        machine,
        matmul_parameters,
        process_peak,
        versions,
    )
    from benchmarks.schedule import Schedule
    from benchmarks.workload import (
        SEED,
        default_documents_file,
        later_round,
        paper_workloads,
        quick_workloads,
        read_documents,
    )
    from dagster_project.commands import console
    from toolformer.forward.embedded_model import ensure_embedded_model
    from toolformer_home.home import Home

    began = time.monotonic()
    quick = options.quick
    repeats = _QUICK_GEMM_REPEATS if quick else _GEMM_REPEATS
    peaks = {name: gemm_peak(name, repeats=repeats) for name in ("bfloat16", "float32")}
    path = options.model or ensure_embedded_model(Home.find().converted_models)
    model = load_faster(path)
    stock_model = load_stock_model(path, precision=model.precision)
    stock = LiteralEngine(stock_model, model.tokenizer, bos_id=model.bos_id)
    file = options.documents or default_documents_file()
    documents = read_documents(
        file,
        model.tokenizer,
        count=QUICK_DOCUMENTS if quick else DOCUMENTS,
        document_tokens=QUICK_TOKENS if quick else DOCUMENT_TOKENS,
    )
    _say(f"{model.name} in {model.precision}, {len(documents)} documents of {file}")
    peak = Peak(peaks[model.precision], *matmul_parameters(stock_model))
    schedule = Schedule(
        model,
        stock,
        documents,
        literal_every=QUICK_LITERAL_EVERY if quick else LITERAL_EVERY,
        say=_say,
    )
    first_rounds = [
        replace(tool, result_tokens=options.result_tokens)
        for tool in (quick_workloads() if quick else paper_workloads())
        if options.tool in (None, tool.name)
    ]
    tools = [each for tool in first_rounds for each in (tool, later_round(tool))]
    for tool in tools[:2]:
        _warm_up(schedule, tool)
    measured = [schedule.run(tool) for tool in tools]
    agreements = _agreements(path, measured, documents, quick=quick)
    schedule.go_on(measured, deadline=began + TIME_LIMIT)
    figures = {
        "machine": machine(),
        "versions": versions(),
        "quick": quick,
        "model": str(path),
        "documents": str(file),
        "seed": SEED,
        "result_tokens": options.result_tokens,
        "gemm_peak_gflops": {name: value / 1e9 for name, value in peaks.items()},
        "seconds": time.monotonic() - began,
        "peak_gib": process_peak(),
        "tools": {
            costs.tool.title: tool_figures(costs, each, peak)
            for costs, each in zip(measured, agreements, strict=True)
        },
    }
    _print_report(figures, measured, peak, console)
    return figures


def _warm_up(schedule: Any, tool: Any) -> None:
    """Once through both engines untimed: the first call of a kernel is slow."""
    from benchmarks import ours
    from benchmarks.workload import calls_to_score

    short = "Input: {text}\nOutput:" if tool.prompt is not None else None
    tool = replace(tool, prompt=short, positions_per_text=1, calls_per_position=2)
    documents = schedule.documents[:1]
    samples = ours.sample(schedule.model, tool, documents)
    calls = calls_to_score(tool, samples, schedule.model.tokenizer)
    ours.score(schedule.model, tool, documents, calls)
    schedule.stock.sample(tool, schedule.stock.contexts(tool, documents))
    schedule.stock.score(documents, calls, form=tool.form)


def _agreements(path: Path, measured: list[Any], documents: Any, *, quick: bool) -> list[Any]:
    from benchmarks.agreement import agreement
    from benchmarks.batched_literal import LiteralEngine, load_stock_model
    from toolformer.forward.language_model import LanguageModel

    _say("agreement in float32")
    model = LanguageModel.load(path, precision="float32")
    literal = LiteralEngine(
        load_stock_model(path, precision="float32"),
        model.tokenizer,
        bos_id=model.bos_id,
        batch_size=1,
    )
    return [
        agreement(
            model,
            literal,
            costs.tool,
            documents[: QUICK_AGREEMENT_DOCUMENTS if quick else AGREEMENT_DOCUMENTS],
            costs.calls,
            max_calls=QUICK_AGREEMENT_CALLS if quick else AGREEMENT_CALLS,
        )
        for costs in measured
    ]


def _print_report(figures: dict[str, Any], measured: list[Any], peak: Any, console: Any) -> None:
    from benchmarks.engine_report import stage_table, summary_table

    machine, peaks = figures["machine"], figures["gemm_peak_gflops"]
    console.heading("Machine")
    console.say(
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads, "
        f"{machine['memory_gib']} GiB; GEMM peak {peaks['bfloat16']:.0f} GFLOP/s bfloat16, "
        f"{peaks['float32']:.0f} float32"
    )
    console.say(", ".join(f"{name} {number}" for name, number in figures["versions"].items()))
    for costs in measured:
        tool = costs.tool
        k, m = tool.positions_per_text, tool.calls_per_position
        console.heading(f"{tool.title}, k={k}, m={m}: positions and sampling")
        console.frame(stage_table(costs.sampling, None))
        console.heading(f"{tool.title}: scoring the same candidates")
        console.frame(stage_table(costs.scoring, peak))
    console.heading("Both stages, and the agreement in float32")
    console.frame(summary_table(figures["tools"]))
    console.say(
        f"(a) did one in {round(1 / measured[0].literal_share)} of its samples and calls; its "
        "seconds and tokens are scaled up. Tokens fed count padding. The share of the GEMM peak "
        "counts products with weights on tokens that are not padding, and output-layer rows that "
        "a loss is read from. Ours is scored with L(ε) of whole documents, which the tools of a "
        "run share. Peak memory is the process's, with all loaded models."
    )
    console.say(f"{figures['seconds']:.0f} s; peak memory {figures['peak_gib']:.2f} GiB")
    if figures["quick"]:
        console.say("A quick run: its figures say that everything works, and nothing more.")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
