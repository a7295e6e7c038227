"""Processor time of the plain path, and of the one with shared keys, on the same texts.

    python -m benchmarks.plain_path [--documents N] [--model DIRECTORY] [--json FILE]

Sampling and scoring of the two tools of `benchmarks.engine`, in a first and in a later round, and
decoding of prompts that are the beginnings of the texts, in turns in one process. Each with its
tokens fed. A model on the plain path has a row for each context and continuation.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DOCUMENT_TOKENS, PROMPT_TOKENS, NEW_TOKENS, PROMPTS = 96, 24, 24, 8


def main(arguments: list[str] | None = None) -> None:
    """Run the measurement and print its table."""
    from benchmarks.machine import machine
    from benchmarks.workload import default_documents_file, read_documents
    from dagster_project.commands import console
    from toolformer.forward.embedded_model import ensure_embedded_model
    from toolformer.forward.language_model import LanguageModel
    from toolformer_home.home import Home

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--documents", type=int, default=4, help="documents (default: %(default)s)")
    parser.add_argument("--model", type=Path, help="model directory; default: the embedded one")
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args(arguments)
    path = options.model or ensure_embedded_model(Home.find().converted_models)
    model = LanguageModel.load(path, precision="float32")
    documents = read_documents(
        default_documents_file(),
        model.tokenizer,
        count=options.documents,
        document_tokens=DOCUMENT_TOKENS,
    )
    is_plain_alone = model.is_plain
    stages: dict[str, dict[str, Any]] = {}
    for name, work in _work(model, documents).items():
        for model.is_plain in [True] if is_plain_alone else [False, True]:
            began, fed = time.process_time(), model.tokens_fed
            work()
            figures = {"seconds": time.process_time() - began, "tokens": model.tokens_fed - fed}
            stages.setdefault(name, {})["plain" if model.is_plain else "shared"] = figures
    console.heading(f"{model.name} in float32, {len(documents)} documents")
    console.say(f"{machine()['processor']}, {machine()['threads']} threads")
    console.table(
        ["stage", "way", "processor seconds", "tokens fed", "times as long"],
        [
            (name, way, each["seconds"], each["tokens"], each["seconds"] / first["seconds"])
            for name, ways in stages.items()
            for first in [next(iter(ways.values()))]
            for way, each in ways.items()
        ],
    )
    if options.json is not None:
        figures = {"machine": machine(), "model": str(path), "stages": stages}
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _work(model: Any, documents: Any) -> dict[str, Callable[[], Any]]:
    from functools import partial

    from benchmarks import ours
    from benchmarks.workload import calls_to_score, later_round, quick_workloads
    from toolformer.decoding.completions import DecodingParameters
    from toolformer.decoding.decoder import complete

    work: dict[str, Callable[[], Any]] = {}
    for first in quick_workloads():
        for tool in (first, later_round(first)):
            calls = calls_to_score(tool, ours.sample(model, tool, documents), model.tokenizer)
            work[f"{tool.title}: sampling"] = partial(ours.sample, model, tool, documents)
            work[f"{tool.title}: scoring"] = partial(ours.score, model, tool, documents, calls)
    parameters = DecodingParameters(
        max_new_tokens=NEW_TOKENS,
        call_top_k=10,
        max_calls=1,
        max_call_tokens=16,
        max_result_tokens=8,
        tools=("Calculator",),
    )
    prompts = [
        model.tokenizer.decode(document.ids[: PROMPT_TOKENS + number])
        for number, document in enumerate(documents * (PROMPTS // len(documents) or 1))
    ]
    work["decoding"] = partial(
        complete,
        model,
        prompts,
        parameters=parameters,
        run_calls=lambda asked: ["42" for _ in asked],
        end_ids=frozenset(),
    )
    return work


if __name__ == "__main__":
    main()
