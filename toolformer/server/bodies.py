"""Defines the request body of `POST /v1/completions` and the fields shared with chat requests."""

import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from toolformer.forward.tokenization import Tokenizer

MAX_STOP_TEXTS = 16
MAX_LOGPROBS = 20
"""Same limit as in OpenAI's API and vLLM."""
# Only with a constraint does pydantic reject unpaired surrogates, which no tokenizer accepts.
_Text = Annotated[str, StringConstraints(min_length=0)]
_Probability = Annotated[float, Field(ge=0, le=1)]
_StopText = Annotated[str, StringConstraints(min_length=1, max_length=100)]


def _check_date(given: str) -> str:
    if datetime.date.fromisoformat(given).isoformat() != given:
        raise ValueError(given)
    return given


def _neutral() -> Any:
    """Return a pydantic field for an OpenAI penalty, which is accepted only if it has no effect."""
    description = "0 or no value, since penalties are not supported"
    return Field(None, ge=0, le=0, description=description)


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    include_usage: bool = False


class SharedBody(BaseModel):
    """Fields that completion and chat requests share.

    Each description completes the sentence "Expected …" in the error message of its field.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    model: str | None = Field(None, description="the model's id, as listed by GET /v1/models")
    stop: _StopText | Annotated[list[_StopText], Field(max_length=MAX_STOP_TEXTS)] | None = Field(
        None, description=f"a text of 1 to 100 characters, or up to {MAX_STOP_TEXTS} of them"
    )
    stream: bool | None = Field(None, description="true or false")
    stream_options: StreamOptions | None = Field(
        None, description='{"include_usage": true} or {"include_usage": false}'
    )
    seed: int | None = Field(None, description="a whole number")
    user: str | None = Field(None, description="a text, which has no effect")
    top_p: float | None = Field(None, ge=0, le=1, description="a number from 0 to 1")
    # Smaller temperatures would make the logits overflow.
    temperature: Literal[0] | Annotated[float, Field(ge=0.01, le=2)] | None = Field(
        None, description="0, or a number from 0.01 to 2"
    )
    n: int | None = Field(None, ge=1, le=100, description="a whole number from 1 to 100")
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = Field(
        None, description="an empty object or no value, since logit biases are not supported"
    )
    presence_penalty: float | None = _neutral()
    frequency_penalty: float | None = _neutral()
    # Clients without functions of their own send an empty list.
    tools: Annotated[
        list[str] | Literal["off"] | None, AfterValidator(lambda given: given or None)
    ] = Field(
        None, description='a list of names of our tools, as listed by GET /v1/models, or "off"'
    )
    call_top_k: int | None = Field(None, ge=0, le=1000, description="a whole number from 0 to 1000")
    min_call_probability: _Probability | dict[str, _Probability] | None = Field(
        None, description="a number from 0 to 1, or an object with such a number per tool"
    )
    max_calls: int | None = Field(None, ge=0, le=100, description="a whole number from 0 to 100")
    today: Annotated[str, AfterValidator(_check_date)] | None = Field(
        None, description="a date in the form YYYY-MM-DD"
    )
    call_probabilities: bool | None = Field(None, description="true or false")
    calls_in_text: bool | None = Field(None, description="true or false")

    @property
    def stop_texts(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class CompletionBody(SharedBody):
    PROMPT: ClassVar[str] = "prompt"
    """Name of the field with the prompt."""

    prompt: _Text | Annotated[list[_Text], Field(min_length=1)] = Field(
        description="a text or a non-empty list of texts"
    )
    max_tokens: int | None = Field(None, ge=1, description="a whole number from 1 upwards")
    logprobs: int | None = Field(
        None, ge=0, le=MAX_LOGPROBS, description=f"a whole number from 0 to {MAX_LOGPROBS}"
    )
    echo: Literal[False] | None = Field(
        None, description="false or no value, since answers cannot repeat the prompt"
    )
    best_of: int | None = Field(
        None, ge=1, le=1, description="1 or no value, since all generated texts are returned"
    )
    suffix: None = Field(None, description="null or no value, since insertion is not supported")

    @property
    def token_limit(self) -> int | None:
        """Maximum number of tokens outside calls, if the request sets one."""
        return self.max_tokens

    @property
    def top_tokens(self) -> int | None:
        """Number of most likely tokens to list per token; None lists no log-probabilities."""
        return self.logprobs

    @property
    def named_tools(self) -> list[str] | Literal["off"] | None:
        """Names of the tools that may be called; None allows all tools, "off" none."""
        return self.tools

    def shows_calls(self, default: bool) -> bool:
        return default if self.calls_in_text is None else self.calls_in_text

    def prompts(self, tokenizer: Tokenizer, start: int) -> list[tuple[str, list[int]]]:  # noqa: ARG002
        texts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        return [(text, tokenizer.encode(text)) for text in texts]
