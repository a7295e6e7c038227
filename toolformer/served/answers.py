"""Answers of a server in the form of vLLM; anything else is refused when it is read."""

from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, ValidationInfo
from pydantic.dataclasses import dataclass

from toolformer.base.untrusted_text import shown
from toolformer.errors import ServedModelError

# The log-probability of a certain token may be rounded to more than 0.
ROUNDED_ZERO = 0.01
_NAME = "token_id:"
_Form = TypeVar("_Form")


def _id_of(name: object) -> object:
    if not isinstance(name, str) or not name.startswith(_NAME):
        raise ValueError
    return name.removeprefix(_NAME)


def _of_the_model(told: object, info: ValidationInfo) -> str | None:
    """Make a text of the server safe to store, since it becomes part of rows."""
    return None if told is None else shown(told, key=info.context)


_TokenId = Annotated[int, BeforeValidator(_id_of)]
_LogProbability = Annotated[float, Field(strict=True, le=ROUNDED_ZERO, allow_inf_nan=False)]
_Count = Annotated[int, Field(strict=True, ge=0)]
_Length = Annotated[int, Field(strict=True, gt=0)]
_OfTheModel = Annotated[str | None, BeforeValidator(_of_the_model)]


@dataclass(frozen=True, slots=True)
class Card:
    """A model in the answer of `/v1/models`."""

    id: str
    max_model_len: _Length | None = None
    # Models that differ in these give other numbers. vLLM reports `root`.
    root: _OfTheModel = None
    revision: _OfTheModel = None
    dtype: _OfTheModel = None
    quantization: _OfTheModel = None


@dataclass(frozen=True, slots=True)
class TokenScore:
    """Score of a token at a place: log-probability in nats, rank from 1, and spelling."""

    log_probability: Annotated[_LogProbability, Field(alias="logprob")]
    rank: _Length
    decoded_token: str | None = None


@dataclass(frozen=True, slots=True)
class Logprobs:
    """The tokens after a prompt."""

    tokens: list[_TokenId] | None = None
    token_logprobs: list[_LogProbability] | None = None
    top_logprobs: list[dict[_TokenId, _LogProbability] | None] | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One continuation.

    Attributes:
        prompt_logprobs: scores of the places of the prompt, as `PROMPT_SCORES` reads them. They
            are read
            later: a text has a megabyte of them, most of it unused.
    """

    index: _Count = 0
    logprobs: Logprobs | None = None
    prompt_logprobs: list[Any] | None = None
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Numbers of tokens that were fed and written."""

    prompt_tokens: _Count
    completion_tokens: _Count | None = None


@dataclass(frozen=True, slots=True)
class Completions:
    """The continuations of a prompt."""

    choices: Annotated[list[Choice], Field(min_length=1)]
    usage: Usage


# The form of other models does not matter.
CARDS = TypeAdapter(list[dict[str, Any]])
CARD, COMPLETIONS = TypeAdapter(Card), TypeAdapter(Completions)
PROMPT_SCORES = TypeAdapter(list[dict[int, TokenScore] | None])


def unexpected_answer(url: str, what: str) -> ServedModelError:
    """Return the error for an answer that no engine gives; `what` follows "The server at …"."""
    return ServedModelError(
        f"The server at {url} {what}. Expected the form of OpenAI's completions. Use an engine "
        "such as `vllm serve`, without a proxy that changes answers."
    )


def in_form(answer: object, form: TypeAdapter[_Form], url: str, key: str | None) -> _Form:
    """Read an answer.

    Raises:
        ServedModelError: names the field that has another form.
    """
    try:
        return form.validate_python(answer, context=key)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        told = shown(repr(first["input"]), key=key)
        where = shown(".".join(map(str, first["loc"])), key=key) or "all of it"
        what = f"answered in another form than vLLM: {where} is {told} ({first['msg']})"
        # Without the cause, which may have the key.
        raise unexpected_answer(url, what) from None
