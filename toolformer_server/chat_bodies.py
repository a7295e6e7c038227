"""The body of `POST /v1/chat/completions`, and its messages as chat templates take them."""

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from toolformer_server.api_errors import ApiError
from toolformer_server.bodies import MAX_LOGPROBS, CompletionBody, TextBody

EXECUTED = "executed_"
"""Ids of calls that this server has listed in a message begin so."""
WITHOUT_EFFECT = (
    *("metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"),
    *("parallel_tool_calls", "chat_id", "session_id", "id"),
)
"""Fields that clients send for their own ends, and of which no answer depends."""
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
# What clients send back of an answer, or know a message by.
_BESIDE_CONTENT = frozenset(
    {"name", "id", "refusal", "annotations", "reasoning_content", "provider_specific_fields"}
)
_OWN_CALLS = "null, since the server calls its own tools; leave it out"


class _TextFormat(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    type: Literal["text"]


class ChatCompletionBody(CompletionBody):
    """A chat whose messages have become a prompt, as it is decoded."""

    PROMPT: ClassVar[str] = "messages"
    FILLS_CONTEXT: ClassVar[bool] = True

    tool_calls_in_message: bool = False


class ChatBody(TextBody):
    """A request to answer a chat."""

    messages: list[dict[str, Any]] = Field(
        min_length=1, description="a list of messages, each with a role and content"
    )
    max_tokens: int | None = Field(None, ge=1, description="a whole number from 1")
    max_completion_tokens: int | None = Field(None, ge=1, description="a whole number from 1")
    logprobs: bool | None = Field(None, description="true or false")
    top_logprobs: int | None = Field(
        None, ge=0, le=MAX_LOGPROBS, description=f"a whole number from 0 to {MAX_LOGPROBS}"
    )
    response_format: _TextFormat | None = Field(
        None, description='{"type": "text"}, since no grammar shapes what the model writes'
    )
    modalities: list[Literal["text"]] | None = Field(
        None, description='["text"], since the model writes nothing else'
    )
    tools: list[str] | Literal["off"] | None = Field(
        None,
        description="a list of names of the server's tools, as GET /v1/models says them, or "
        '"off": the server calls its own tools, and none of the client\'s',
    )
    tool_choice: Literal["none", "auto"] | None = Field(
        None, description='"auto" or "none", since the model itself opens calls'
    )
    functions: None = Field(None, description=_OWN_CALLS)
    function_call: None = Field(None, description=_OWN_CALLS)
    tool_calls_in_message: bool | None = Field(None, description="true or false")
    chat_template: Literal["own", "plain"] | None = Field(
        None, description='"own", of a model that has one, or "plain"'
    )

    @model_validator(mode="before")
    @classmethod
    def _leave_out(cls, fields: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if name not in WITHOUT_EFFECT}

    def turns(self) -> list[dict[str, str]]:
        """The messages, each with its role and its text alone.

        Raises:
            ApiError: one of them cannot be answered to, or there is none of the user.
        """
        turns = [_turn(place, message) for place, message in enumerate(self.messages)]
        if not any(turn["role"] == "user" for turn in turns):
            raise ApiError(
                400, "messages has none of the role user. Expected at least one.", param="messages"
            )
        return turns

    def as_completion(
        self, prompt: str | list[int], stop_texts: Sequence[str]
    ) -> ChatCompletionBody:
        """What continues a prompt as this request wants it.

        Args:
            prompt: made of the messages.
            stop_texts: end the answer besides those of the request.

        Raises:
            ApiError: two fields do not go together.
        """
        if self.top_logprobs is not None and not self.logprobs:
            message = f"top_logprobs is {self.top_logprobs}. Expected logprobs besides, true."
            raise ApiError(400, message, param="top_logprobs")
        shared = {name: getattr(self, name) for name in TextBody.model_fields}
        changed = {
            "prompt": prompt,
            "stop": [*self.stop_texts, *stop_texts],
            "max_tokens": self.max_completion_tokens or self.max_tokens,
            "logprobs": (self.top_logprobs or 0) if self.logprobs else None,
            "tools": "off" if self.tool_choice == "none" else self.tools,
            "calls_in_text": bool(self.calls_in_text),
            "tool_calls_in_message": bool(self.tool_calls_in_message),
        }
        # Its fields have been checked.
        return ChatCompletionBody.model_construct(**shared | changed)


def _turn(place: int, message: Mapping[str, Any]) -> dict[str, str]:
    def refused(what: str, expected: str) -> ApiError:
        return ApiError(400, f"messages[{place}] {what}. Expected {expected}.", param="messages")

    given = message.get("role")
    role = _ROLES.get(given) if isinstance(given, str) else None
    if role is None:
        raise refused(
            f"has the role {reprlib.repr(given)}",
            f"one of {', '.join(_ROLES)}: the server has run its tools itself, and takes no "
            "results of others",
        )
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list) or not all(map(_is_executed, calls)):
        raise refused("has tool_calls of others", "those that this server has listed, or none")
    for name, value in message.items():
        if value and name not in ("role", "content", "tool_calls", *_BESIDE_CONTENT):
            raise refused(f"has a field {reprlib.repr(name)}", "role and content alone")
    content = message.get("content")
    if content is None and calls:
        content = ""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list):
        raise refused(f"has the content {reprlib.repr(content)}", "a text, or a list of text parts")
    texts = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("text") if kind == "text" else None
        if not isinstance(text, str):
            raise refused(
                f"has a part of the type {reprlib.repr(kind)}",
                '{"type": "text", "text": …}, since the model reads text alone',
            )
        texts.append(text)
    return {"role": role, "content": "\n".join(texts)}


def _is_executed(call: Any) -> bool:
    return isinstance(call, dict) and str(call.get("id")).startswith(EXECUTED)
