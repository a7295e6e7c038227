"""A stub of the server: the real files of the page, and scripted answers to its requests.

The prompt says which answer: each prompt of `SCRIPTS` has its own.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import toolformer_server

PAGE = Path(toolformer_server.__file__).parent / "page"
SECURITY_POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
KEY = "a-key"
MODEL = {
    "id": "stub-model",
    "object": "model",
    "toolformer": {
        "tools": ["Calculator", "Calendar", "QA"],
        "unavailable": {"WikiSearch": "The tool WikiSearch has no index."},
        "call_top_k": 10,
        "min_call_probability": 0.03,
        "max_calls": 1,
        "max_tokens": 200,
    },
}


def words(text: str, *probabilities: float) -> list[dict[str, Any]]:
    """One chunk per word."""
    pieces = [f" {word}" for word in text.split()]
    padded = [*probabilities, *[0.0004] * len(pieces)]
    return [chunk(piece, probability) for piece, probability in zip(pieces, padded, strict=False)]


def chunk(text: str, probability: float | None, kind: str = "sampled", **further: Any) -> dict:
    tokens = [{"text": text, "kind": kind, "call_probability": probability}]
    return {"text": text, "finish_reason": None, "toolformer": {"tokens": tokens, **further}}


def answered(tool: str, arguments: str, result: str, probability: float) -> dict[str, Any]:
    text = f" [{tool}({arguments}) -> {result}]"
    call = {"tool": tool, "arguments": arguments, "result": result, "text": text,
            "character_offset": 0, "milliseconds": 12.34, "undone": False}  # fmt: skip
    return {**chunk(" [", probability, "trigger", call=call), "text": text}


def undone(text: str, reason: str, probability: float) -> dict[str, Any]:
    call = dict.fromkeys(("tool", "arguments", "result", "character_offset", "milliseconds"))
    call |= {"text": text, "reason": reason, "undone": True}
    return {**chunk(" [", probability, "undone", call=call), "text": ""}


SCRIPTS: dict[str, list[dict[str, Any]]] = {
    "a call": [
        *words("she has", 0.0002, 0.004),
        answered("Calculator", "1240 - 456", "784", 0.42),
        *words("784 apples left, which is more than before.", 0.0011),
    ],
    "an undone call": [
        undone(" [Calculator(1 / 0)", "no_result", 0.2),
        *words("nothing."),
    ],
    "hostile": [
        chunk(HOSTILE, 0.001),
        answered(HOSTILE, HOSTILE, HOSTILE, 0.2),
        undone(f" [{HOSTILE}", HOSTILE, 0.1),
    ],
    "endless": words("on and on " * 400),
    "error in mid-stream": [*words("so far"), {"error": {"message": "The model failed."}}],
    "broken off": [*words("so far"), {}],
}
REFUSALS = {
    "refused": (400, "max_tokens is 9. Expected at most 8."),
    "full": (429, "The queue is full. Try again in some seconds."),
    "closing": (503, "The server closes. Ask again later."),
}


class StubServer:
    """What it was asked, and how it answers.

    Attributes:
        needs_key: whether it answers 401 without the key.
        bodies: of the completions that it was asked for.
        left: prompts whose client left before the end.
    """

    def __init__(self) -> None:
        self.needs_key = False
        self.bodies: list[dict[str, Any]] = []
        self.left: list[str] = []
        routes = [
            Route("/v1/models", self._models),
            Route("/v1/completions", self._complete, methods=["POST"]),
            Mount("/", StaticFiles(directory=PAGE, html=True)),
        ]
        # Under a prefix, as behind a proxy.
        app = Starlette(routes=[Mount("/under/a/prefix", routes=routes)])
        config = uvicorn.Config(app, port=0, log_level="critical", ws="none", lifespan="off",
                                headers=[("content-security-policy", SECURITY_POLICY)])  # fmt: skip
        self._server = uvicorn.Server(config)

    @property
    def address(self) -> str:
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/under/a/prefix/"

    @contextmanager
    def running(self) -> Iterator["StubServer"]:
        thread = threading.Thread(target=self._server.run)
        thread.start()
        try:
            while not self._server.started:
                thread.join(0.02)
            yield self
        finally:
            self._server.force_exit = self._server.should_exit = True
            thread.join()

    async def _models(self, request: Request) -> Response:
        return self._refused(request) or JSONResponse({"object": "list", "data": [MODEL]})

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        if refusal := self._refused(request):
            return refusal
        if body["prompt"] in REFUSALS:
            return _error(*REFUSALS[body["prompt"]])
        return StreamingResponse(self._events(body), media_type="text/event-stream")

    def _refused(self, request: Request) -> Response | None:
        is_right = request.headers.get("authorization") == f"Bearer {KEY}"
        return _error(401, "The key is missing.") if self.needs_key and not is_right else None

    async def _events(self, body: dict[str, Any]) -> AsyncIterator[str]:
        script = SCRIPTS.get(body["prompt"], words("some words."))
        if body["tools"] == "off":
            script = words("about 700 apples.") if body["prompt"] != "endless" else script
        try:
            for part in script:
                await asyncio.sleep(0.01)
                if not part:
                    return
                if "error" in part:
                    yield f"data: {json.dumps(part)}\n\n"
                    return
                yield f"data: {json.dumps({'choices': [part]}, ensure_ascii=False)}\n\n"
            end = {"text": "", "finish_reason": "stop", "toolformer": {"text_without_calls": ""}}
            yield f"data: {json.dumps({'choices': [end]})}\n\ndata: [DONE]\n\n"
        except asyncio.CancelledError:
            self.left.append(body["prompt"])
            raise


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "…"}}, status)
