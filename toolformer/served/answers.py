"""Validates the JSON answers of a completion server in vLLM's format."""

from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, ValidationInfo
from pydantic.dataclasses import dataclass

from toolformer.base.untrusted_text import shown
from toolformer.errors import ServedModelError

# Rounding may raise the log-probability of a certain token above 0.
ROUNDED_ZERO = 0.01
_NAME = "token_id:"
_Form = TypeVar("_Form")


def _id_of(name: object) -> object:
    if not isinstance(name, str) or not name.startswith(_NAME):
        raise ValueError
    return name.removeprefix(_NAME)


def _safe_text(text: object, info: ValidationInfo) -> str | None:
    # The texts come from the server and are stored in table rows.
    return None if text is None else shown(text, key=info.context)


_TokenId = Annotated[int, BeforeValidator(_id_of)]
_LogProbability = Annotated[float, Field(strict=True, le=ROUNDED_ZERO, allow_inf_nan=False)]
_Count = Annotated[int, Field(strict=True, ge=0)]
_Length = Annotated[int, Field(strict=True, gt=0)]
_SafeText = Annotated[str | None, BeforeValidator(_safe_text)]


@dataclass(frozen=True, slots=True)
class Card:
    """Entry of a model in the answer of `/v1/models`."""

    id: str
    max_model_len: _Length | None = None
    # Models that differ in one of these fields yield different scores. vLLM reports only `root`.
    root: _SafeText = None
    revision: _SafeText = None
    dtype: _SafeText = None
    quantization: _SafeText = None


@dataclass(frozen=True, slots=True)
class TokenScore:
    """Log-probability in nats, rank from 1, and text of a token at one position."""

    log_probability: Annotated[_LogProbability, Field(alias="logprob")]
    rank: _Length
    decoded_token: str | None = None


@dataclass(frozen=True, slots=True)
class Logprobs:
    tokens: list[_TokenId] | None = None
    token_logprobs: list[_LogProbability] | None = None
    top_logprobs: list[dict[_TokenId, _LogProbability] | None] | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One completion of a prompt."""

    index: _Count = 0
    logprobs: Logprobs | None = None
    # Scores per prompt position. `PROMPT_SCORES` parses only the positions in use, because a text
    # has about a megabyte of scores.
    prompt_logprobs: list[Any] | None = None
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: _Count
    completion_tokens: _Count | None = None


@dataclass(frozen=True, slots=True)
class Completions:
    choices: Annotated[list[Choice], Field(min_length=1)]
    usage: Usage


# Entries of other models are not validated.
CARDS = TypeAdapter(list[dict[str, Any]])
CARD, COMPLETIONS = TypeAdapter(Card), TypeAdapter(Completions)
PROMPT_SCORES = TypeAdapter(list[dict[int, TokenScore] | None])


def unexpected_answer(url: str, what: str) -> ServedModelError:
    """Return the error for an unexpected answer; `what` follows "The server at …"."""
    return ServedModelError(
        f"The server at {url} {what}. Expected an answer of vLLM's completions API. Use an engine "
        "such as `vllm serve`, without a proxy that changes answers."
    )


def in_form(answer: object, form: TypeAdapter[_Form], url: str, key: str | None) -> _Form:
    """Parse an answer, or raise ServedModelError with the first invalid field."""
    try:
        return form.validate_python(answer, context=key)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        value = shown(repr(first["input"]), key=key)
        field = shown(".".join(map(str, first["loc"])), key=key) or "the answer"
        what = f"sent an invalid answer: {field} is {value} ({first['msg']})"
        # The cause may contain the key, so it is not chained.
        raise unexpected_answer(url, what) from None
