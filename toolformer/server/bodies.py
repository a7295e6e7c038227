"""The bodies of requests, and what is wrong with one that is refused."""

import asyncio
import datetime
import reprlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic_core import from_json
from starlette.requests import Request

from toolformer.base.names import did_you_mean
from toolformer.server.api_errors import ApiError
from toolformer.server.web_guard import media_type

MAX_BODY_BYTES = 2**20
BODY_SECONDS = 30
MAX_STOP_TEXTS = 16
MAX_LOGPROBS = 20
"""As vLLM has it by default (`--max-logprobs`)."""
_Probability = Annotated[float, Field(ge=0, le=1)]
_TokenId = Annotated[int, Field(ge=0)]
_TokenIds = Annotated[list[_TokenId], Field(min_length=1)]
_Kind = TypeVar("_Kind", bound=BaseModel)
_StopText = Annotated[str, StringConstraints(min_length=1, max_length=100)]


def _check_date(given: str) -> str:
    if datetime.date.fromisoformat(given).isoformat() != given:
        raise ValueError(given)
    return given


def _neutral() -> Any:
    """A field of OpenAI's that may be given where it changes nothing."""
    description = "0, since tokens are the model's own choice; leave it out"
    return Field(None, ge=0, le=0, description=description)


# What is expected of a field beside others; see `CompletionBody.check`.
_TOGETHER = {
    "max_tokens": "1 or more, or echo or prompt_logprobs besides, which ask about the prompt",
    "stream": "false, since a stream has neither numbers of its prompt nor lists of token ids",
    "n": "1, or a temperature above 0 besides: greedy decoding has one outcome",
    "logprob_token_ids": "logprobs besides, a whole number",
    "tools": '"off" where a prompt is asked about: that is plain text, and no call follows it',
}


class StreamOptions(BaseModel):
    """OpenAI's `stream_options`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    include_usage: bool = False


class _Body(BaseModel):
    """A request; each description ends the sentence "Expected …" of its error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    model: str | None = Field(None, description="the model's id, as GET /v1/models says it")


class TextBody(_Body):
    """What is asked of texts in completions and in chats alike."""

    stop: _StopText | Annotated[list[_StopText], Field(max_length=MAX_STOP_TEXTS)] | None = Field(
        None, description=f"a text of 1 to 100 characters, or up to {MAX_STOP_TEXTS} of them"
    )
    stream: bool | None = Field(None, description="true or false")
    stream_options: StreamOptions | None = Field(
        None, description='{"include_usage": true} or {"include_usage": false}'
    )
    seed: int | None = Field(None, description="a whole number")
    user: str | None = Field(None, description="a text; it changes nothing")
    top_p: float | None = Field(None, ge=0, le=1, description="a number from 0 to 1")
    # Logits divided by less would overflow.
    temperature: Literal[0] | Annotated[float, Field(ge=0.01, le=2)] | None = Field(
        None, description="0, or a number from 0.01 to 2"
    )
    n: int | None = Field(None, ge=1, le=100, description="a whole number from 1 to 100")
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = Field(
        None, description="nothing, since tokens are the model's own choice; leave it out"
    )
    presence_penalty: float | None = _neutral()
    frequency_penalty: float | None = _neutral()
    # Clients that have no functions of their own send an empty list.
    tools: Annotated[
        list[str] | Literal["off"] | None, AfterValidator(lambda given: given or None)
    ] = Field(
        None, description='a list of names of our tools, as GET /v1/models says them, or "off"'
    )
    call_top_k: int | None = Field(None, ge=0, le=1000, description="a whole number up to 1000")
    min_call_probability: _Probability | dict[str, _Probability] | None = Field(
        None, description="a number from 0 to 1, or one for each of some tools"
    )
    max_calls: int | None = Field(None, ge=0, le=100, description="a whole number up to 100")
    today: Annotated[str, AfterValidator(_check_date)] | None = Field(
        None, description="a date, YYYY-MM-DD"
    )
    call_probabilities: bool | None = Field(None, description="true or false")
    calls_in_text: bool | None = Field(None, description="true or false")

    @property
    def stop_texts(self) -> tuple[str, ...]:
        """What ends a text."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class CompletionBody(TextBody):
    """A request to continue texts."""

    # The field that holds what is continued.
    PROMPT: ClassVar[str] = "prompt"

    prompt: (
        str
        | Annotated[list[str], Field(min_length=1)]
        | _TokenIds
        | Annotated[list[_TokenIds], Field(min_length=1)]
    ) = Field(
        description="a text, a list of token ids, or a list of texts or of such lists, none of the "
        "lists empty"
    )
    max_tokens: int | None = Field(None, ge=0, description="a whole number")
    logprobs: int | None = Field(
        None, ge=0, le=MAX_LOGPROBS, description=f"a whole number from 0 to {MAX_LOGPROBS}"
    )
    prompt_logprobs: int | None = Field(
        None, ge=0, le=MAX_LOGPROBS, description=f"a whole number from 0 to {MAX_LOGPROBS}"
    )
    logprob_token_ids: Annotated[_TokenIds, Field(max_length=MAX_LOGPROBS)] | None = Field(
        None, description=f"a list of 1 to {MAX_LOGPROBS} token ids"
    )
    return_token_ids: bool | None = Field(None, description="true or false")
    return_tokens_as_token_ids: bool | None = Field(None, description="true or false")
    echo: bool | None = Field(None, description="true or false")
    best_of: int | None = Field(
        None, ge=1, le=1, description="1, since every outcome is given; leave it out"
    )
    suffix: None = Field(None, description="null, since nothing is inserted; leave it out")

    @property
    def prompts(self) -> Sequence[str | list[int]]:
        """Texts or lists of token ids, `n` choices for each."""
        prompt: Any = self.prompt
        return [prompt] if isinstance(prompt, str) or isinstance(prompt[0], int) else prompt

    @property
    def prompt_top(self) -> int | None:
        """So many likeliest tokens are wanted at each place of a prompt; None for no numbers."""
        wanted = [self.prompt_logprobs, self.logprobs if self.echo else None]
        return max((count for count in wanted if count is not None), default=None)

    def check(self) -> None:
        """Refuse fields that do not go together.

        Raises:
            ApiError: names one of them, and says what to change.
        """
        is_sampled = bool(self.temperature)
        asks_of_prompt = self.prompt_top is not None
        faults = {
            "max_tokens": self.max_tokens == 0 and not self.echo and not asks_of_prompt,
            "stream": self.stream and (asks_of_prompt or self.return_token_ids),
            "n": (self.n or 1) > 1 and not is_sampled,
            "logprob_token_ids": self.logprob_token_ids and self.logprobs is None,
            "tools": asks_of_prompt and isinstance(self.tools, list) and self.tools,
        }
        for name, is_fault in faults.items():
            if is_fault:
                given = reprlib.repr(getattr(self, name))
                message = f"{name} is {given}. Expected {_TOGETHER[name]}."
                raise ApiError(400, message, param=name)


async def read_body(request: Request) -> bytes:
    """The body, which is JSON by its type; no more of it is held than the limit.

    Raises:
        ApiError: it has another type, is too large, or does not arrive.
        ClientDisconnect: the client leaves.
    """
    if (given := media_type(request.headers)) != "application/json":
        raise ApiError(415, f"The content type is {given!r}. Expected application/json.")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > MAX_BODY_BYTES:
                    message = f"The body is too large. Expected at most {MAX_BODY_BYTES} bytes."
                    raise ApiError(413, message, code="too_large")
    except TimeoutError as error:
        raise ApiError(
            408, f"The body did not arrive. Expected it within {BODY_SECONDS} seconds."
        ) from error
    return bytes(body)


class TokenizeBody(_Body):
    """A request to cut a text into tokens."""

    prompt: str = Field(description="a text")
    add_special_tokens: bool = Field(True, description="true or false")


class DetokenizeBody(_Body):
    """A request for the text of tokens."""

    tokens: list[_TokenId] = Field(description="a list of token ids")


def parsed_body(body: bytes, kind: type[_Kind]) -> _Kind:
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
        return kind.model_validate(fields)
    except ValidationError as error:
        raise _explained(error, fields, kind.model_fields) from error


def nearest(name: str, known: Mapping[str, Any]) -> str:
    """What a misspelt name may mean, as the end of a message."""
    return did_you_mean(name, known).lstrip() or f"Expected one of {', '.join(known)}."


def _explained(
    error: ValidationError, fields: dict[str, Any], fields_known: Mapping[str, FieldInfo]
) -> ApiError:
    faults = error.errors(include_url=False, include_input=False)
    # A misspelt field may be why another is missing.
    for fault in faults:
        if fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1:
            name = str(fault["loc"][0])
            message = f"There is no field {reprlib.repr(name)}. {nearest(name, fields_known)}"
            return ApiError(400, message, param=name[:64], code="unknown_field")
    name = str(faults[0]["loc"][0])
    given = reprlib.repr(fields[name]) if name in fields else "missing"
    message = f"{name} is {given}. Expected {fields_known[name].description}."
    return ApiError(400, message, param=name)
