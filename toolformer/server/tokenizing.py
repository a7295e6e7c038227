"""The model's tokenizer over HTTP, in the form of vLLM's server."""

import asyncio
import json
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from toolformer.forward.tokenization import Tokenizer
from toolformer.server.bodies import DetokenizeBody, TokenizeBody, parsed_body, read_body
from toolformer.server.served import Served


def add_tokenizer_routes(app: FastAPI, served: Served) -> None:
    """Add `/tokenizer_info`, `/tokenize` and `/detokenize`."""
    tokenizer = served.model.tokenizer

    @app.get("/tokenizer_info")
    @app.get("/v1/tokenizer_info")
    async def show_tokenizer() -> Response:
        return JSONResponse(tokenizer_info(tokenizer))

    @app.post("/tokenize")
    async def tokenize(request: Request) -> Response:
        body = parsed_body(await read_body(request), TokenizeBody)
        served.check_name(body.model)
        # Unlike in a prompt, special tokens are found in the text.
        encode = tokenizer.backend.encode
        adds = body.add_special_tokens
        tokens = await asyncio.to_thread(encode, body.prompt, add_special_tokens=adds)
        length = served.model.context_length
        return JSONResponse({"count": len(tokens), "max_model_len": length, "tokens": tokens})

    @app.post("/detokenize")
    async def detokenize(request: Request) -> Response:
        body = parsed_body(await read_body(request), DetokenizeBody)
        served.check_name(body.model)
        served.check_ids(body.tokens, "tokens")
        return JSONResponse({"prompt": tokenizer.decode(body.tokens)})


def tokenizer_info(tokenizer: Tokenizer) -> dict[str, Any]:
    """What tokenizer_config.json says, without paths of this machine."""
    backend = tokenizer.backend
    config = {
        name: value
        for name, value in backend.init_kwargs.items()
        if name != "name_or_path" and not name.endswith("_file")
    }
    config |= {**backend.special_tokens_map, "tokenizer_class": type(backend).__name__}
    if backend.chat_template:
        config["chat_template"] = backend.chat_template
    # What is no JSON is a token with rules of its own, or the library's tokenizer.
    return json.loads(json.dumps(config, default=str))
