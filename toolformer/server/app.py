"""The routes of the server."""

import asyncio
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from toolformer.forward.start_token import start_token
from toolformer.server.api_errors import ApiError, internal
from toolformer.server.bodies import CompletionBody, TextBody, parsed_body, read_body
from toolformer.server.chat_bodies import ChatBody
from toolformer.server.exchange import Exchange
from toolformer.server.gate import Gate
from toolformer.server.request_log import LEFT
from toolformer.server.served import Served
from toolformer.server.tokenizing import add_tokenizer_routes

_PAGE = Path(__file__).parent / "page"
_NOT_FOUND = (
    "There is nothing at this address. Expected /v1/completions, /v1/chat/completions, "
    "/v1/models, /tokenizer_info, /tokenize, /detokenize, /health or /."
)


def make_app(
    served: Served,
    *,
    bound_to: str,
    key: str | None,
    logs_prompts: bool,
    allowed_hosts: Collection[str] = (),
    cors_origins: Collection[str] = (),
) -> ASGIApp:
    """The application, behind its gate.

    Args:
        logs_prompts: whether the log has the texts of prompts.
        bound_to, key, allowed_hosts, cors_origins: see `Gate`.
    """
    # Its pages of documentation would load scripts from elsewhere.
    app = FastAPI(title="toolformer", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.exception_handlers |= {
        ApiError: _tell,
        HTTPException: _tell_of_address,
        ClientDisconnect: _tell_nobody,
        Exception: _tell_of_bug,
    }

    @app.get("/health")
    async def health() -> Response:
        batch = served.batch
        return JSONResponse(
            {
                "status": "ok",
                "model": served.model.name,
                "active": batch.active,
                "waiting": batch.waiting,
            }
        )

    @app.get("/v1/models")
    async def list_models() -> Response:
        return JSONResponse({"object": "list", "data": [served.description]})

    @app.get("/v1/models/{name:path}")
    async def show_model(name: str) -> Response:
        served.check_name(name)
        return JSONResponse(served.description)

    @app.post("/v1/completions", openapi_extra=_taken_body(CompletionBody))
    async def complete(request: Request) -> Response:
        body = parsed_body(await read_body(request), CompletionBody)
        record = request.state.record
        record.further |= {"prompts": body.prompts} if logs_prompts else {}
        return await Exchange(served, body, record).answer(request.receive)

    @app.post("/v1/chat/completions", openapi_extra=_taken_body(ChatBody))
    async def answer_chat(request: Request) -> Response:
        chat = parsed_body(await read_body(request), ChatBody)
        start = start_token(served.model.tokenizer, served.settings.language_model.bos_token)
        # In a thread: a long chat takes a while to be cut into tokens.
        prompted = partial(chat.as_completion, served.model.tokenizer, start)
        body = await asyncio.to_thread(prompted)
        record = request.state.record
        record.further |= {"messages": chat.messages} if logs_prompts else {}
        return await Exchange(served, body, record).answer(request.receive)

    add_tokenizer_routes(app, served)
    page = {"/", *(f"/{file.name}" for file in _PAGE.iterdir())}
    # Not mounted: that would answer for methods that the other addresses do not take.
    app.routes.extend(Route(path, StaticFiles(directory=_PAGE, html=True)) for path in page)
    gate = Gate(
        app,
        bound_to=bound_to,
        key=key,
        free_paths={"/health", *page},
        allowed_hosts={name.lower() for name in allowed_hosts},
        cors_origins=cors_origins,
    )
    if not cors_origins:
        return gate
    # In front, since a browser asks for leave without the key.
    return CORSMiddleware(
        gate,
        allow_origins=cors_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=["retry-after", "x-request-id"],
        allow_private_network=True,
    )


def _taken_body(kind: type[TextBody]) -> dict[str, Any]:
    schema = kind.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def _tell(_: Request, error: Any) -> Response:
    return error.response


async def _tell_of_address(_: Request, error: Any) -> Response:
    headers = dict(error.headers or {})
    message = _NOT_FOUND if error.status_code == 404 else f"{error.detail}."
    if error.status_code == 405:
        # Files of the page name none.
        methods = headers.setdefault("Allow", "GET, HEAD")
        message = f"This address does not take the method. Expected {methods}."
    response = ApiError(error.status_code, message).response
    response.headers.update(headers)
    return response


async def _tell_nobody(request: Request, _: Any) -> Response:
    request.state.record.has_left = True
    return Response(status_code=LEFT)


async def _tell_of_bug(request: Request, _: Any) -> Response:
    return internal(request.state.record.request_id).response
