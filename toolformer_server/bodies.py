"""The body of `POST /v1/completions`, and what is wrong with one that is refused."""

import asyncio
import datetime
import difflib
import reprlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic_core import from_json
from starlette.requests import Request

from toolformer_server.api_errors import ApiError
from toolformer_server.web_guard import media_type

MAX_BODY_BYTES = 2**20
BODY_SECONDS = 30
MAX_STOP_TEXTS = 4
_StopText = Annotated[str, StringConstraints(min_length=1, max_length=100)]


def _check_date(given: str) -> str:
    if datetime.date.fromisoformat(given).isoformat() != given:
        raise ValueError(given)
    return given


def _neutral(description: str) -> Any:
    """A field of OpenAI's that may be given where it asks for nothing but greedy decoding."""
    return Field(None, ge=0, le=0, description=description)


class StreamOptions(BaseModel):
    """OpenAI's `stream_options`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    include_usage: bool = False


class CompletionBody(BaseModel):
    """A request; each description ends the sentence "Expected …" of its error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    model: str | None = Field(None, description="the model's id, as GET /v1/models says it")
    prompt: str | Annotated[list[str], Field(min_length=1)] = Field(
        description="a text, or a list of texts; tokens are not taken"
    )
    max_tokens: int | None = Field(None, ge=1, description="a whole number from 1 on")
    stop: _StopText | Annotated[list[_StopText], Field(max_length=MAX_STOP_TEXTS)] | None = Field(
        None, description=f"a text of 1 to 100 characters, or up to {MAX_STOP_TEXTS} of them"
    )
    stream: bool | None = Field(None, description="true or false")
    stream_options: StreamOptions | None = Field(
        None, description='{"include_usage": true} or {"include_usage": false}'
    )
    logprobs: int | None = Field(None, ge=0, le=5, description="a whole number from 0 to 5")
    echo: bool | None = Field(None, description="true or false")
    seed: int | None = Field(None, description="a whole number; it changes nothing")
    user: str | None = Field(None, description="a text; it changes nothing")
    top_p: float | None = Field(
        None, ge=0, le=1, description="a number from 0 to 1; it changes nothing"
    )
    temperature: float | None = _neutral("0, since decoding is greedy; leave it out")
    n: int | None = Field(
        None, ge=1, le=1, description="1, since greedy decoding has one outcome; leave it out"
    )
    best_of: int | None = Field(
        None, ge=1, le=1, description="1, since greedy decoding has one outcome; leave it out"
    )
    suffix: None = Field(None, description="null, since nothing is inserted; leave it out")
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = Field(
        None, description="nothing, since decoding is greedy; leave it out"
    )
    presence_penalty: float | None = _neutral("0, since decoding is greedy; leave it out")
    frequency_penalty: float | None = _neutral("0, since decoding is greedy; leave it out")
    tools: list[str] | Literal["off"] | None = Field(
        None, description='a list of names, as GET /v1/models says them, or "off"'
    )
    call_top_k: int | None = Field(None, ge=0, le=1000, description="a whole number up to 1000")
    min_call_probability: float | None = Field(None, ge=0, le=1, description="a number from 0 to 1")
    max_calls: int | None = Field(None, ge=0, le=100, description="a whole number up to 100")
    today: Annotated[str, AfterValidator(_check_date)] | None = Field(
        None, description="a date, YYYY-MM-DD"
    )
    call_probabilities: bool | None = Field(None, description="true or false")

    @property
    def prompts(self) -> tuple[str, ...]:
        """One for each choice."""
        return (self.prompt,) if isinstance(self.prompt, str) else tuple(self.prompt)

    @property
    def stop_texts(self) -> tuple[str, ...]:
        """What ends a text."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


async def read_body(request: Request) -> bytes:
    """The body, which is JSON by its type; no more of it is held than the limit.

    Raises:
        ApiError: it has another type, is too large, or does not arrive.
        ClientDisconnect: the client leaves.
    """
    if (given := media_type(request.headers)) != "application/json":
        raise ApiError(415, f"The content type is {given!r}. Expected application/json.")
    too_large = ApiError(
        413, f"The body is too large. Expected at most {MAX_BODY_BYTES} bytes.", code="too_large"
    )
    # Before any of it is read; h11 has checked that it is a number.
    if int(request.headers.get("content-length", 0)) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > MAX_BODY_BYTES:
                    raise too_large
    except TimeoutError as error:
        raise ApiError(
            408, f"The body did not arrive. Expected it within {BODY_SECONDS} seconds."
        ) from error
    return bytes(body)


def parsed_body(body: bytes) -> CompletionBody:
    """The request that a body holds.

    Raises:
        ApiError: says which field is wrong, and what was expected.
    """
    try:
        # Unlike the standard library's, it knows no NaN, no lone surrogates, and ends at a depth.
        fields = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"The body is not JSON: {error}.") from error
    if not isinstance(fields, dict):
        raise ApiError(
            400,
            f"The body is {reprlib.repr(fields)}. Expected a JSON object, such as "
            '{"prompt": "Today is"}.',
        )
    try:
        return CompletionBody.model_validate(fields)
    except ValidationError as error:
        raise _explained(error, fields) from error


def nearest(name: str, known: Mapping[str, Any]) -> str:
    """What a misspelt name may mean, as the end of a message."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Expected one of {', '.join(known)}."


def _explained(error: ValidationError, fields: dict[str, Any]) -> ApiError:
    fields_known = CompletionBody.model_fields
    # A misspelt field may be why another is missing.
    for name in fields:
        if name not in fields_known:
            message = f"There is no field {reprlib.repr(name)}. {nearest(name, fields_known)}"
            return ApiError(400, message, param=name[:64], code="unknown_field")
    name = str(error.errors(include_url=False, include_input=False)[0]["loc"][0])
    given = reprlib.repr(fields[name]) if name in fields else "missing"
    message = f"{name} is {given}. Expected {fields_known[name].description}."
    return ApiError(400, message, param=name)
