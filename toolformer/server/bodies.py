"""The body of `POST /v1/completions`, and the fields that it shares with chats."""

import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from toolformer.forward.tokenization import Tokenizer

MAX_STOP_TEXTS = 16
MAX_LOGPROBS = 20
"""As OpenAI and vLLM have it."""
# The constraint refuses half a surrogate pair, which no tokenizer takes.
_Text = Annotated[str, StringConstraints(min_length=0)]
_Probability = Annotated[float, Field(ge=0, le=1)]
_StopText = Annotated[str, StringConstraints(min_length=1, max_length=100)]


def _check_date(given: str) -> str:
    if datetime.date.fromisoformat(given).isoformat() != given:
        raise ValueError(given)
    return given


def _neutral() -> Any:
    """Return a field of OpenAI's that is accepted if it changes nothing."""
    description = "0, since tokens are the model's own choice; leave it out"
    return Field(None, ge=0, le=0, description=description)


class StreamOptions(BaseModel):
    """OpenAI's `stream_options`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    include_usage: bool = False


class SharedBody(BaseModel):
    """The fields that completions and chats share.

    Each description ends the sentence "Expected …" of the error for its field.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    model: str | None = Field(None, description="the model's id, as GET /v1/models lists it")
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
        None, description='a list of names of our tools, as GET /v1/models lists them, or "off"'
    )
    call_top_k: int | None = Field(None, ge=0, le=1000, description="a whole number up to 1000")
    min_call_probability: _Probability | dict[str, _Probability] | None = Field(
        None, description="a number from 0 to 1, or an object with one for each of some tools"
    )
    max_calls: int | None = Field(None, ge=0, le=100, description="a whole number up to 100")
    today: Annotated[str, AfterValidator(_check_date)] | None = Field(
        None, description="a date, YYYY-MM-DD"
    )
    call_probabilities: bool | None = Field(None, description="true or false")
    calls_in_text: bool | None = Field(None, description="true or false")

    @property
    def stop_texts(self) -> tuple[str, ...]:
        """The texts that end a text."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class CompletionBody(SharedBody):
    """A request to continue texts."""

    PROMPT: ClassVar[str] = "prompt"
    """Name of the field that holds what is continued."""

    prompt: _Text | Annotated[list[_Text], Field(min_length=1)] = Field(
        description="a text, or a list of texts that is not empty"
    )
    max_tokens: int | None = Field(None, ge=1, description="a whole number from 1")
    logprobs: int | None = Field(
        None, ge=0, le=MAX_LOGPROBS, description=f"a whole number from 0 to {MAX_LOGPROBS}"
    )
    echo: Literal[False] | None = Field(
        None, description="false, since answers do not repeat the prompt; leave it out"
    )
    best_of: int | None = Field(
        None, ge=1, le=1, description="1, since every outcome is given; leave it out"
    )
    suffix: None = Field(None, description="null, since nothing is inserted; leave it out")

    @property
    def token_limit(self) -> int | None:
        """Largest number of tokens outside calls, if the request sets one."""
        return self.max_tokens

    @property
    def top_tokens(self) -> int | None:
        """Number of most likely tokens to list per token; None lists no log-probabilities."""
        return self.logprobs

    @property
    def named_tools(self) -> list[str] | Literal["off"] | None:
        """The tools that may be called; None for all."""
        return self.tools

    def shows_calls(self, default: bool) -> bool:
        """Return whether the text has the calls; `default` is the server's setting."""
        return default if self.calls_in_text is None else self.calls_in_text

    def prompts(self, tokenizer: Tokenizer, start: int) -> list[tuple[str, list[int]]]:  # noqa: ARG002
        """Return the texts to continue, each with its token ids."""
        texts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        return [(text, tokenizer.encode(text)) for text in texts]
