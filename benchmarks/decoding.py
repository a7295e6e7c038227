"""Decoding of a benchmark's items, tools off and on, against transformers' own `generate`.

Items are questions of DATESET; tools are the Calendar and the Calculator. `generate` is greedy, in
batches of 16 as they come, with the token that opens a call banned, as it is with tools off.

    python -m benchmarks.decoding [--items 1000] [--model DIR] [--rows N …] [--json FILE]
"""

import argparse
import json
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SEED, NEW_TOKENS, BATCH = 0, 40, 16


def main() -> None:
    """Measure and print items a second."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--model", type=Path, help="model directory; default: the embedded one")
    parser.add_argument("--rows", type=int, nargs="+", help="texts at once; default: chosen")
    parser.add_argument("--only-ours", action="store_true")
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()

    from benchmarks.machine import load_faster, machine, versions
    from dagster_project.home import Home
    from dagster_project.settings.sections import DecodingSettings, ExecutionSettings
    from toolformer.decoding.completions import Completion, DecodingParameters
    from toolformer.decoding.decoder import complete
    from toolformer.evaluation.dateset import generate_dateset, sample_dateset
    from toolformer.evaluation.prompts import question_prompt
    from toolformer.forward.embedded_model import ensure_embedded_model
    from tools.plugins.plugins import parse_arguments
    from tools.protocol import Document
    from tools.registry import create_tool
    from tools.running.deadlines import Limits
    from tools.running.execution import call_runner

    items = sample_dateset(generate_dateset(seed=SEED), options.items, SEED)
    prompts = [question_prompt(item.question) for item in items]
    askers = [
        Document(document_id=item.item_id, text=prompt, published_on=item.current_date)
        for item, prompt in zip(items, prompts, strict=True)
    ]
    base = options.model or ensure_embedded_model(Home.find().converted_models)
    model = load_faster(base)
    tools = {
        "Calendar": create_tool("Calendar", {"date_source": "published_on"}),
        "Calculator": create_tool("Calculator"),
    }
    decoding = DecodingSettings()  # pyright: ignore[reportCallIssue]
    execution = ExecutionSettings()  # pyright: ignore[reportCallIssue]

    def ours(names: Sequence[str], rows: int | None, known: list[Completion] | None = None) -> Any:
        return complete(
            model,
            prompts,
            parameters=DecodingParameters(
                max_new_tokens=NEW_TOKENS,
                call_top_k=decoding.call_top_k,
                max_calls=decoding.max_calls,
                max_call_tokens=decoding.max_call_tokens,
                max_result_tokens=execution.max_result_tokens,
                tools=tuple(names),
            ),
            run_calls=call_runner(tools, askers, limits=Limits(execution.deadline_seconds)),
            parse_arguments=lambda name, text: parse_arguments(tools[name], text),
            without_calls=known,
            rows_at_once=rows,
        )

    figures: dict[str, Any] = {"machine": machine(), "versions": versions(), "seconds": {}}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - began
        figures["seconds"][name] = round(seconds, 1)
        print(f"{name:40} {seconds:7.1f} s  {len(items) / seconds:6.1f} items/s", flush=True)
        return result

    off: list[Completion] = []
    on: list[Completion] = []
    for rows in options.rows or [None]:
        at_once = "" if rows is None else f", {rows} at once"
        off = timed(f"tools off{at_once}", lambda rows=rows: ours((), rows))
        on = timed(f"tools on{at_once}", lambda rows=rows, off=off: ours(list(tools), rows, off))
    figures["items with a call"] = sum(bool(each.calls) for each in on)
    if not options.only_ours:
        texts = timed("transformers' generate, tools off", lambda: _generated(model, prompts))
        figures["equal to generate"] = sum(
            ours.text == theirs for ours, theirs in zip(off, texts, strict=True)
        )
    figures["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print({name: figures[name] for name in list(figures)[3:]})
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _generated(model: Any, prompts: Sequence[str]) -> list[str]:
    """What `generate` writes behind each prompt."""
    import torch

    from toolformer.calls import call_open_ids
    from toolformer.decoding.decoder import end_of_text_ids

    ends = sorted(end_of_text_ids(model))
    texts = []
    for start in range(0, len(prompts), BATCH):
        rows = [
            [model.bos_id, *model.tokenizer.encode(prompt)]
            for prompt in prompts[start : start + BATCH]
        ]
        width = max(map(len, rows))
        ids = torch.tensor([[ends[0]] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        with torch.inference_mode():
            written = model.model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                bad_words_ids=[list(call_open_ids(model.tokenizer))],
                eos_token_id=ends,
                pad_token_id=ends[0],
            )
        for row in written[:, width:].tolist():
            length = next((at for at, token in enumerate(row) if token in ends), len(row))
            texts.append(model.tokenizer.decode(row[:length]))
    return texts


if __name__ == "__main__":
    main()
