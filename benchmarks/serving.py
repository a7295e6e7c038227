"""Measures continuous batching against transformers, and the latency that clients of a server see.

`engine` decodes texts that arrive at the same time: with our engine without tools, with our engine
with Calculator and Calendar, with transformers' `generate` one by one and all together, and with
its continuous batching. They take turns, so that changes in the machine's speed affect all equally.
`clients` sends requests to a running `toolformer serve`.

    python -m benchmarks.serving engine [--texts 32] [--turns 3] [--model DIR] [--json FILE]
    python -m benchmarks.serving clients [--url URL] [--clients 1 8 32] [--json FILE]
"""

import argparse
import json
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
NEW_TOKENS = 40


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["engine", "clients"])
    parser.add_argument("--texts", type=int, default=32)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--model", type=Path, help="model directory; default: the embedded one")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()

    from benchmarks.machine import machine, versions

    measured = {"engine": _engine, "clients": _clients}[options.what](options)
    figures = {"machine": machine(), "versions": versions(), **measured}
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _prompts(count: int) -> list[str]:
    """Return sums in sentences, for which a model of the demo calls the Calculator."""
    return [
        f"A box has {36 + number} eggs, so {45 + number} boxes have {36 + number} * {45 + number} ="
        for number in range(count)
    ]


def _engine(options: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.machine import load_faster
    from toolformer.forward.embedded_model import ensure_embedded_model
    from toolformer.home.home import Home
    from tools.registry import create_tool

    directory = options.model or ensure_embedded_model(Home.find().converted_models)
    model = _in_thread(lambda: load_faster(directory))
    prompts = _prompts(options.texts)
    calculator_and_calendar = {
        "Calculator": create_tool("Calculator"),
        "Calendar": create_tool("Calendar"),
    }
    ways: dict[str, Callable[[], tuple[int, float]]] = {
        "tools off": lambda: _ours(model, prompts, {}),
        "tools on": lambda: _ours(model, prompts, calculator_and_calendar),
        "generate, one by one": lambda: _generated(model, prompts, at_once=1),
        "generate, all together": lambda: _generated(model, prompts, at_once=len(prompts)),
        "transformers' continuous batching": lambda: _continuous(model, prompts),
    }
    speeds: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.turns):
        for name, work in ways.items():
            tokens, seconds = _in_thread(work)
            speeds[name].append(tokens / seconds)
            print(f"{name:36} {tokens:6} tokens {tokens / seconds:8.1f} tokens/s", flush=True)
    medians = {name: round(statistics.median(values), 1) for name, values in speeds.items()}
    print(medians)
    return {"tokens_per_second": medians, "all": speeds}


def _in_thread(work: Callable[[], T]) -> T:
    # torch's thread pool ends together with this thread, and cannot slow down other work.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def _ours(model: Any, prompts: Sequence[str], tools: dict[str, Any]) -> tuple[int, float]:
    """Return the number of tokens that the model chose, and the seconds for all texts."""
    import datetime

    from toolformer.decoding.completions import Decoding
    from toolformer.decoding.decoding_row import RowSettings
    from toolformer.decoding.live_batch import LiveBatch
    from toolformer.decoding.live_text import LiveEnd, LivePiece, LiveRequest
    from toolformer.settings.annotation_sections import DecodingSettings
    from tools.plugins.plugins import parse_arguments
    from tools.protocol import Document
    from tools.running.deadlines import Limits
    from tools.running.execution import call_runner

    asker = Document("prompt", "", published_on=datetime.date(2024, 5, 31))
    run_calls = call_runner(tools, [asker], limits=Limits(10))
    limits = DecodingSettings(max_new_tokens=NEW_TOKENS, call_attempts=1)
    decoding = Decoding(limits, max_result_tokens=32, tools=tuple(tools))
    ended = threading.Semaphore(0)
    ends: list[LiveEnd] = []
    pieces: list[LivePiece] = []

    def listen(sent: LivePiece | LiveEnd) -> None:
        if isinstance(sent, LivePiece):
            pieces.append(sent)
        else:
            ends.append(sent)
            ended.release()

    batch = LiveBatch(model, max_active=len(prompts), max_waiting=len(prompts))
    settings = RowSettings(decoding, lambda name, text: parse_arguments(tools[name], text))
    requests = [
        LiveRequest(prompt, settings, lambda call: run_calls([(0, call)])[0]) for prompt in prompts
    ]
    for request in requests:
        batch.submit(request, listen)
    began = time.perf_counter()
    batch.start()
    for _ in requests:
        ended.acquire()
    seconds = time.perf_counter() - began
    batch.close()
    completions = [end.completion for end in ends if end.completion is not None]
    chosen = sum(step.kind != "forced" for each in completions for step in each.trace)
    calls = sum(len(each.calls) + len(each.undone_calls) for each in completions)
    of_tools = sum(piece.seconds for piece in pieces if piece.call)
    print(f"  {calls} calls opened, {of_tools:.2f} s of tools")
    return chosen, seconds


def _rows(model: Any, prompts: Sequence[str]) -> list[list[int]]:
    return [[model.bos_id, *model.tokenizer.encode(prompt)] for prompt in prompts]


def _settings_of_generate(model: Any) -> dict[str, Any]:
    ends = sorted(model.end_ids)
    return {
        "max_new_tokens": NEW_TOKENS,
        "do_sample": False,
        "eos_token_id": ends,
        "pad_token_id": ends[0],
    }


def _generated(model: Any, prompts: Sequence[str], *, at_once: int) -> tuple[int, float]:
    """Decode with `generate`, which may also write the token that opens a call."""
    import torch

    settings = _settings_of_generate(model)
    rows, written = _rows(model, prompts), 0
    began = time.perf_counter()
    for start in range(0, len(rows), at_once):
        batch = rows[start : start + at_once]
        width = max(map(len, batch))
        ids = torch.tensor([[settings["pad_token_id"]] * (width - len(row)) + row for row in batch])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in batch])
        with torch.inference_mode():
            outputs = model.model.generate(
                input_ids=ids.to(model.device), attention_mask=mask.to(model.device), **settings
            )
        for output in outputs[:, width:].tolist():
            ends = (at + 1 for at, token in enumerate(output) if token in settings["eos_token_id"])
            written += next(ends, len(output))
    return written, time.perf_counter() - began


def _continuous(model: Any, prompts: Sequence[str]) -> tuple[int, float]:
    from transformers import GenerationConfig

    settings = GenerationConfig(**_settings_of_generate(model))
    began = time.perf_counter()
    outputs = model.model.generate_batch(
        inputs=_rows(model, prompts), generation_config=settings, progress_bar=False
    )
    seconds = time.perf_counter() - began
    return sum(len(output.generated_tokens) for output in outputs.values()), seconds


def _clients(options: argparse.Namespace) -> dict[str, Any]:
    figures = {}
    for clients in options.clients:
        prompts = _prompts(max(32, clients))
        began = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            answers = list(pool.map(lambda prompt: _ask(options.url, prompt), prompts))
        seconds = time.perf_counter() - began
        first = sorted(answer[0] for answer in answers)
        figures[clients] = {
            "first_token_median_s": round(statistics.median(first), 3),
            "first_token_worst_s": round(first[-1], 3),
            "tokens_per_second": round(sum(answer[1] for answer in answers) / seconds, 1),
        }
        print(f"{clients} clients: {figures[clients]}", flush=True)
    return {"clients": figures}


def _ask(url: str, prompt: str) -> tuple[float, int]:
    """Return the seconds to the first piece of a stream, and the number of tokens."""
    import requests

    body = {
        "prompt": prompt,
        "max_tokens": NEW_TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began, first, tokens = time.perf_counter(), 0.0, 0
    with requests.post(f"{url}/v1/completions", json=body, stream=True, timeout=600) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines(chunk_size=1):
            if not line.startswith(b"data: {"):
                continue
            first = first or time.perf_counter() - began
            tokens = (json.loads(line[6:]).get("usage") or {}).get("completion_tokens", tokens)
    return first, tokens


if __name__ == "__main__":
    main()
