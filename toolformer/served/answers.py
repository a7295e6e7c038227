"""What servers answer, in the forms of vLLM: anything else is refused when it is read."""

from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, ValidationInfo
from pydantic.dataclasses import dataclass

from toolformer.base.foreign_texts import shown
from toolformer.errors import ServedModelError

# A certain token's log probability may be rounded to more than 0.
ROUNDED_ZERO = 0.01
NAME = "token_id:"
_Form = TypeVar("_Form")


def _id_of(name: object) -> object:
    if not isinstance(name, str) or not name.startswith(NAME):
        raise ValueError
    return name.removeprefix(NAME)


def _of_the_model(told: object, info: ValidationInfo) -> str | None:
    """As it may be kept: it becomes part of rows."""
    return None if told is None else shown(told, key=info.context)


_TokenId = Annotated[int, BeforeValidator(_id_of)]
_LogProbability = Annotated[float, Field(strict=True, le=ROUNDED_ZERO, allow_inf_nan=False)]
_Count = Annotated[int, Field(strict=True, ge=0)]
_Length = Annotated[int, Field(strict=True, gt=0)]
_OfTheModel = Annotated[str | None, BeforeValidator(_of_the_model)]


@dataclass(frozen=True, slots=True)
class OwnCard:
    """What `toolformer serve` says besides."""

    context_length: _Length | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """What a server says of a model."""

    id: str
    max_model_len: _Length | None = None
    toolformer: OwnCard | None = None
    # What makes its numbers others. vLLM says `root`.
    root: _OfTheModel = None
    revision: _OfTheModel = None
    dtype: _OfTheModel = None
    quantization: _OfTheModel = None

    @property
    def of_the_model(self) -> list[str | None]:
        """What tells it from other models of its name."""
        return [self.root, self.revision, self.dtype, self.quantization]


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token at a place: its log probability in nats, its rank from 1, and how it is spelt."""

    log_probability: Annotated[_LogProbability, Field(alias="logprob")]
    rank: _Length
    decoded_token: str | None = None


@dataclass(frozen=True, slots=True)
class Logprobs:
    """The tokens behind a prompt."""

    tokens: list[_TokenId] | None = None
    token_logprobs: list[_LogProbability] | None = None
    top_logprobs: list[dict[_TokenId, _LogProbability] | None] | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One continuation, with what was asked about the prompt.

    Attributes:
        prompt_logprobs: at each place what `SEEN` has, of which most is seldom wanted: a megabyte
            of a text.
    """

    index: _Count = 0
    logprobs: Logprobs | None = None
    prompt_logprobs: list[Any] | None = None
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """How many tokens were fed and written."""

    prompt_tokens: _Count
    completion_tokens: _Count | None = None


@dataclass(frozen=True, slots=True)
class Completions:
    """The continuations of a prompt."""

    choices: Annotated[list[Choice], Field(min_length=1)]
    usage: Usage


# Of the models of a server, of which the form of others is no matter.
CARDS = TypeAdapter(list[dict[str, Any]])
CARD, COMPLETIONS = TypeAdapter(Card), TypeAdapter(Completions)
SEEN = TypeAdapter(list[dict[int, TokenScore] | None])


def another_answer(url: str, what: str) -> ServedModelError:
    """The error for an answer that engines do not give, in words behind `The server at …`."""
    return ServedModelError(
        f"The server at {url} {what}. Expected the form of OpenAI's completions: take an engine "
        "such as `vllm serve` (0.6 or newer), without a proxy that changes answers."
    )


def in_form(answer: object, form: TypeAdapter[_Form], url: str, key: str | None) -> _Form:
    """An answer in the form that it must have.

    Raises:
        ServedModelError: what stands where, what was expected there, and what to do.
    """
    try:
        return form.validate_python(answer, context=key)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        told = shown(repr(first["input"]), key=key)
        where = shown(".".join(map(str, first["loc"])), key=key) or "all of it"
        what = f"answered in another form than vLLM: {where} is {told} ({first['msg']})"
        # Without its cause, which has what was told with a key in it.
        raise another_answer(url, what) from None
