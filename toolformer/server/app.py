"""Defines the routes of the server and its access rules."""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from toolformer.errors import ToolformerError
from toolformer.server.api_errors import ApiError, internal, wrong_body
from toolformer.server.bodies import CompletionBody
from toolformer.server.chat_bodies import ChatBody
from toolformer.server.model_service import ModelService
from toolformer.server.request_handler import RequestHandler

KEY_VARIABLE = "TOOLFORMER_API_KEY"
MAX_BODY_BYTES = 2**20
_LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
_PAGE = Path(__file__).parent / "page"
_ERRORS = {
    404: "This path does not exist. Expected /v1/completions, /v1/chat/completions, /v1/models, "
    "/health or /.",
    405: "This path does not support the method. The header Allow lists the supported methods.",
    413: f"The body is too large. Expected at most {MAX_BODY_BYTES} bytes.",
}


def check_access(host: str, key: str | None) -> None:
    """Raise if a server without a key would be reachable from other machines."""
    if host.lower() not in _LOOPBACK and not key:
        raise ToolformerError(
            f"--host {host} makes the server reachable from other machines, but no key is set. Set "
            f"{KEY_VARIABLE} to a long secret that clients send as `Authorization: Bearer …`, or "
            "omit --host."
        )


def make_app(
    served: ModelService,
    *,
    key: str | None = None,
    allowed_hosts: Sequence[str] = (),
    cors_origins: Sequence[str] = (),
) -> FastAPI:
    """Return the application.

    Args:
        key: Secret that clients must send; None allows all requests.
        allowed_hosts: Accepted host names in addition to loopback. The check protects against DNS
            rebinding. With a key all names are accepted, because the attacking page lacks the key.
        cors_origins: Origins of web pages that may send requests.
    """
    app = FastAPI(
        title="toolformer",
        # FastAPI's documentation pages would load scripts from other sites.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        max_body_size=MAX_BODY_BYTES,
        # Accept only JSON bodies, because browsers let other sites send JSON only with CORS.
        strict_content_type=True,
        middleware=[
            Middleware(
                TrustedHostMiddleware,
                allowed_hosts=["*"] if key else [*_LOOPBACK, *allowed_hosts],
                www_redirect=False,
            ),
            Middleware(
                CORSMiddleware,
                allow_origins=cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=["retry-after"],
                allow_private_network=True,
            ),
        ],
        exception_handlers={
            ApiError: _answer_error,
            RequestValidationError: _answer_error,
            HTTPException: _answer_error,
            Exception: _answer_error,
        },
    )
    api = APIRouter(prefix="/v1", dependencies=[Depends(_key_check(key))])

    @app.get("/health")
    async def health() -> Response:
        batch, name = served.batch, served.model.name
        return JSONResponse(
            {"status": "ok", "model": name, "active": batch.active, "waiting": batch.waiting}
        )

    @api.get("/models")
    async def list_models() -> Response:
        return JSONResponse({"object": "list", "data": [served.description]})

    @api.get("/models/{name:path}")
    async def show_model(name: str) -> Response:
        served.check_name(name)
        return JSONResponse(served.description)

    @api.post("/completions")
    async def complete(body: CompletionBody, request: Request) -> Response:
        return await RequestHandler(served, body).answer(request.receive)

    @api.post("/chat/completions")
    async def answer_chat(body: ChatBody, request: Request) -> Response:
        return await RequestHandler(served, body).answer(request.receive)

    app.include_router(api)
    # A mount at / would also answer unsupported methods on all other paths.
    for path in ("/", *(f"/{file.name}" for file in _PAGE.iterdir())):
        app.routes.append(Route(path, StaticFiles(directory=_PAGE, html=True), methods=["GET"]))
    return app


def _key_check(key: str | None) -> Callable[..., Awaitable[None]]:
    expected = f"Bearer {key}".encode()

    async def check(authorization: Annotated[str, Header()] = "") -> None:
        # Starlette decodes headers as Latin-1. Encoding restores the bytes that were sent.
        if key and not hmac.compare_digest(authorization.encode("latin-1"), expected):
            raise ApiError(
                401,
                "The key is missing or wrong. Expected the header `Authorization: Bearer KEY`, "
                f"where KEY is the server's {KEY_VARIABLE}.",
                code="invalid_api_key",
            )

    return check


async def _answer_error(request: Request, error: Any) -> Response:
    if isinstance(error, RequestValidationError):
        kind = ChatBody if "chat" in request.url.path else CompletionBody
        return wrong_body(error, kind.model_fields).response
    if isinstance(error, HTTPException):
        message = _ERRORS.get(error.status_code, f"{error.detail}.")
        response = ApiError(error.status_code, message).response
        response.headers.update(error.headers or {})
        return response
    # Uvicorn logs the traceback of unexpected exceptions.
    return (error if isinstance(error, ApiError) else internal()).response
