"""Measures how fast requests to a served model go through, against what latency alone allows.

The server answers in a process of its own, each request after 50 ms; 64 are in flight. The rate
that latency allows is 64 / 0.05 s. Prompts have 100 tokens.

    python -m benchmarks.served [--requests 4000]
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import time
from multiprocessing.connection import Connection

from toolformer.served.http_client import IN_FLIGHT, CompletionsClient

_SECONDS, _TOKENS, _ROUNDS = 0.05, 100, 3
_ANSWER = json.dumps(
    {
        "choices": [{"index": 0, "text": "", "prompt_logprobs": None}],
        "usage": {"prompt_tokens": _TOKENS, "completion_tokens": 1},
    }
).encode()
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer all requests of a connection, each the same."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            await asyncio.sleep(_SECONDS)
            writer.write(_HEAD % len(_ANSWER) + _ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _serve(port: Connection) -> None:
    async def serve() -> None:
        server = await asyncio.start_server(_answer, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


def main() -> None:
    """Run the measurement and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=4000)
    count = parser.parse_args().requests
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(theirs,), daemon=True
    )
    process.start()
    client = CompletionsClient([f"http://127.0.0.1:{ours.recv()}"], "tiny")
    requests = [
        {"prompt": [number, *range(_TOKENS - 1)], "prompt_logprobs": 0} for number in range(count)
    ]
    client.complete(requests[:IN_FLIGHT])
    bound = IN_FLIGHT / _SECONDS
    for _ in range(_ROUNDS):
        began, processor = time.monotonic(), time.process_time()
        client.complete(requests)
        seconds, processor = time.monotonic() - began, time.process_time() - processor
        print(
            f"{count / seconds:,.0f} requests/s, {100 * count / seconds / bound:.0f} % of "
            f"{bound:,.0f}; {1e3 * processor / count:.2f} ms of processor each; load "
            f"{os.getloadavg()[0]:.1f}"
        )
    client.close()
    process.terminate()


if __name__ == "__main__":
    main()
