"""A server of completions over a small network, in the forms of vLLM, that can do things wrong."""

import contextlib
import json
import math
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch

from toolformer.forward.language_model import LanguageModel
from toolformer.served.http_client import IN_FLIGHT, CompletionsClient
from toolformer.served.served_model import ServedModel

# What the client is asked where any answer does.
ONE_TOKEN = {"prompt": [0, 40], "max_tokens": 1, "temperature": 0}


@dataclass
class FakeServer:
    """What the server has, and what it does wrong.

    Attributes:
        faults: `start_token`, `processed`, `small_top`, `mixes_answers`,
            `error_inside`, `other_words`, `no_prompt_logprobs`, `no_number`,
            `not_a_number`, `probabilities`, `words_for_ids`, `no_tokens`, `stops_short` (what
            completes a stop text is left out), `no_stops`, `one_seed` (of several samples),
            `one_sample`.
        failing: statuses of answers by their number, from 0; 0 cuts the connection, and with 200
            the text is broken off behind its first token.
        seconds: that each answer takes.
        card: what `/v1/models` says of the model besides.
        bodies: what was asked.
        asked: how often.
        waiting: requests that were received.
    """

    model: LanguageModel
    faults: set[str] = field(default_factory=set)
    failing: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    key: str | None = None
    url: str = ""
    card: dict[str, str] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0
    waiting: int = 0
    turn: Any = field(default_factory=threading.Lock)

    def answer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        row = list(body["prompt"])
        if max(row) >= self.model.tokenizer.vocabulary_size:
            return {"error": {"message": f"token {max(row)} is out of vocabulary", "code": 400}}
        if "no_stops" in self.faults and body.get("stop"):
            return {"error": {"message": "stop is not supported", "code": 400}}
        if "error_inside" in self.faults:
            return {"error": {"message": "the device is on fire", "code": 400}}
        fed = [self.model.bos_id, *row] if "start_token" in self.faults else row
        scores = self._log_probabilities(fed)
        usage = {"prompt_tokens": len(fed), "completion_tokens": 0}
        choices = []
        for index in range(1 if "one_sample" in self.faults else body.get("n", 1)):
            seed = (body.get("seed") or 0) + index * ("one_seed" not in self.faults)
            logprobs, count = self._continued(fed, scores[-1], {**body, "seed": seed})
            choices.append({"index": index, "text": "", "logprobs": logprobs})
            usage["completion_tokens"] += count
        if (top := body.get("prompt_logprobs")) is not None:
            choices[0]["prompt_logprobs"] = self._of_prompt(fed, scores, top)
        # vLLM gives them as they end.
        return {"choices": choices[::-1], "usage": usage}

    def _log_probabilities(self, row: list[int]) -> torch.Tensor:
        with torch.inference_mode():
            states = self.model.hidden_states(torch.tensor([row]))
            logits = self.model.logits(states[0])
        return logits.log_softmax(dim=-1)

    def _of_prompt(self, row: list[int], scores: torch.Tensor, top: int) -> Any:
        if "no_prompt_logprobs" in self.faults:
            return None
        top = min(top, 5) if "small_top" in self.faults else top
        if "mixes_answers" in self.faults:
            row = [row[0], *row[:0:-1]]
        word = (
            (lambda _: "word") if "other_words" in self.faults else self.model.tokenizer.token_text
        )
        places: list[Any] = [None]
        for values, token in zip(scores, row[1:], strict=False):
            told = [*values.topk(top).indices.tolist(), token]
            name = word if "words_for_ids" in self.faults else str
            places.append(
                {
                    name(each): {
                        "logprob": self._told(float(values[each])),
                        "rank": int((values > values[each]).sum()) + 1,
                        "decoded_token": word(each),
                    }
                    for each in told
                }
            )
        return places

    def _told(self, value: float) -> float | None:
        if "no_number" in self.faults:
            return None
        if "not_a_number" in self.faults:
            return float("nan")
        return math.exp(value) if "probabilities" in self.faults else value

    def _continued(
        self, row: list[int], scores: torch.Tensor, body: Mapping[str, Any]
    ) -> tuple[dict[str, Any], int]:
        chance = torch.Generator().manual_seed(body["seed"])
        logprobs: dict[str, Any] = {"tokens": [], "token_logprobs": [], "top_logprobs": []}
        temperature = body["temperature"] or 1e-3
        for _ in range(body["max_tokens"]):
            sampled = scores / temperature
            token = int(torch.multinomial(sampled.softmax(dim=-1), 1, generator=chance))
            told = sampled.log_softmax(dim=-1) if "processed" in self.faults else scores
            top = 5 if "small_top" in self.faults else body.get("logprobs") or 0
            names = [token, *told.topk(top).indices.tolist()]
            logprobs["tokens"].append(f"token_id:{token}")
            logprobs["token_logprobs"].append(self._told(float(told[token])))
            logprobs["top_logprobs"].append(
                {f"token_id:{each}": float(told[each]) for each in names}
            )
            row = [*row, token]
            written = self.model.tokenizer.decode_continuation(row[-len(logprobs["tokens"]) :])
            if any(stop in written for stop in body.get("stop", ())):
                if "stops_short" in self.faults:
                    for told in logprobs.values():
                        del told[-1:]
                break
            if token == 1:
                break
            if len(logprobs["tokens"]) < body["max_tokens"]:
                scores = self._log_probabilities(row)[-1]
        count = len(logprobs["tokens"])
        return {} if "no_tokens" in self.faults else logprobs, count


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Any

    def do_GET(self) -> None:
        fake: FakeServer = self.server.fake
        length = fake.model.context_length
        self._send(200, {"data": [{"id": "tiny", "max_model_len": length, **fake.card}]})

    def do_POST(self) -> None:
        fake: FakeServer = self.server.fake
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        fake.waiting += 1
        time.sleep(fake.seconds)
        with fake.turn:
            fake.bodies.append(body)
            is_broken_off = fake.failing.get(fake.asked) == 200
            status = fake.failing.pop(fake.asked, 200)
            fake.asked += 1
            if is_broken_off:
                body["max_tokens"] = 1
            answer: Any = fake.answer(body) if status == 200 else {"error": {"message": "full"}}
            if is_broken_off:
                answer["choices"][0]["finish_reason"] = "abort"
        if fake.key and self.headers["authorization"] != f"Bearer {fake.key}":
            status = 401
        if status == 0:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        error: Any = answer.get("error") or {}
        inside = "error_inside" in fake.faults
        self._send(status if inside else error.get("code", status), answer)

    def _send(self, status: int, answer: Mapping[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing: tests look at what was asked."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # All requests in flight may connect at once; what does not fit is reset after a while.
    request_queue_size = IN_FLIGHT
    fake: FakeServer


@contextlib.contextmanager
def serving(model: LanguageModel, *, port: int = 0, **options: Any) -> Iterator[FakeServer]:
    """Serve a network until the block is left; options as of `FakeServer`."""
    fake = FakeServer(model, **options)
    server = _Server(("127.0.0.1", port), _Handler)
    server.fake = fake
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextlib.contextmanager
def served_by(local: LanguageModel, **options: Any) -> Iterator[tuple[FakeServer, ServedModel]]:
    """The fake server of a model, and that model as it is asked there."""
    with serving(local, **options) as fake, contextlib.closing(client_of(fake)) as client:
        yield fake, ServedModel(client, local.tokenizer)


def client_of(
    fake: FakeServer, *, model: str = "tiny", key: str | None = None
) -> CompletionsClient:
    return CompletionsClient(fake.url, model, key=key)


@contextlib.contextmanager
def asking(
    model: LanguageModel, *, key: str | None = None, **options: Any
) -> Iterator[tuple[FakeServer, CompletionsClient]]:
    """A server of a network, and its client."""
    with (
        serving(model, key=key, **options) as fake,
        contextlib.closing(client_of(fake, key=key)) as client,
    ):
        yield fake, client
