"""Serves a GGUF file by llama.cpp in the forms that a served model is asked in.

    VENV/bin/python -m benchmarks.llama_cpp --model FILE.gguf --port 8001

The servers of llama.cpp tell no log probabilities of given token ids; its library has them. VENV
needs llama-cpp-python, and nothing of this project. One request is answered at a time, and what it
shares with the one before is not fed again.
"""

import argparse
import json
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

_CONTEXT = 2048


class Engine:
    """A model that llama.cpp runs; its state is of the row that was asked about last."""

    def __init__(self, file: Path, *, threads: int):
        from llama_cpp import Llama  # pyright: ignore[reportAttributeAccessIssue]

        options = {"n_threads": threads, "n_threads_batch": threads, "verbose": False}
        self._llama: Any = Llama(str(file), n_ctx=_CONTEXT, logits_all=True, **options)
        self._totals = np.zeros(_CONTEXT)
        self._turn = threading.Lock()
        dtype = file.suffixes[-2:][0].lstrip(".")
        self.card = {"id": file.stem, "dtype": dtype, "max_model_len": _CONTEXT}

    def answer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a request for a completion of token ids."""
        row = list(body["prompt"])
        length = len(row) + body["max_tokens"]
        if max(row) >= self._llama.n_vocab() or length > len(self._totals):
            return {"error": {"message": f"token {max(row)}, in all {length}", "code": 400}}
        choice: dict[str, Any] = {"index": 0, "text": ""}
        with self._turn:
            self._feed(row)
            if (top := body.get("prompt_logprobs")) is not None:
                places = [self._place(at, token, top) for at, token in enumerate(row[1:])]
                choice["prompt_logprobs"] = [None, *places]
            choice["logprobs"] = self._continued(row, body)
        usage = {"prompt_tokens": len(row), "completion_tokens": len(choice["logprobs"]["tokens"])}
        return {"choices": [choice], "usage": usage}

    def _feed(self, row: Sequence[int]) -> None:
        fed = self._llama.input_ids[: min(self._llama.n_tokens, len(row))]
        differs = np.flatnonzero(fed != np.array(row[: len(fed)]))
        shared = int(differs[0]) if len(differs) else len(fed)
        # A row that is the beginning of the one before has all that is asked about it.
        if shared < len(row):
            self._llama.n_tokens = shared
            self._llama.eval(row[shared:])
            scores = self._llama.scores[shared : len(row)].astype(np.float64)
            self._totals[shared : len(row)] = np.log(np.exp(scores).sum(axis=1))

    def _told(self, at: int, token: int) -> float:
        return float(self._llama.scores[at, token] - self._totals[at])

    def _place(self, at: int, given: int, top: int) -> dict[str, Any]:
        scores = self._llama.scores[at]
        likeliest = np.argpartition(-scores, top)[:top].tolist() if top else []
        return {
            str(token): {
                "logprob": self._told(at, token),
                "rank": int((scores > scores[token]).sum()) + 1,
                "decoded_token": self._llama.detokenize([token]).decode(errors="ignore"),
            }
            for token in (*likeliest, given)
        }

    def _continued(self, row: list[int], body: Mapping[str, Any]) -> dict[str, Any]:
        chance = np.random.default_rng(body.get("seed"))
        logprobs: dict[str, Any] = {"tokens": [], "token_logprobs": [], "top_logprobs": []}
        while len(logprobs["tokens"]) < body["max_tokens"]:
            self._feed(row)
            at = len(row) - 1
            scores = self._llama.scores[at] / (body["temperature"] or 1e-3)
            # The largest of the scores with such noise is a sample of their softmax.
            token = int((scores + chance.gumbel(size=len(scores))).argmax())
            named = (token, *body.get("logprob_token_ids", ()))
            logprobs["tokens"].append(f"token_id:{token}")
            logprobs["token_logprobs"].append(self._told(at, token))
            logprobs["top_logprobs"].append({f"token_id:{n}": self._told(at, n) for n in named})
            row = [*row, token]
            if token == self._llama.token_eos():
                break
        return logprobs


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    engine: Engine

    def do_GET(self) -> None:
        self._send({"data": [self.engine.card]})

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        self._send(self.engine.answer(json.loads(self.rfile.read(length))))

    def _send(self, answer: Mapping[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(answer.get("error", {}).get("code", 200))
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    _Handler.engine = Engine(asked.model, threads=asked.threads)
    # All requests in flight may connect at once.
    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer(("127.0.0.1", asked.port), _Handler).serve_forever()
