"""Defines the request body of `POST /v1/chat/completions` and builds the prompt from its messages.

Without a chat template, the model continues the concatenated text of the messages. Models that were
finetuned without chats have a template that does the same.
"""

import reprlib
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from toolformer.errors import ChatTemplateError
from toolformer.forward.chat_template import chat_ids, has_chat_template, plain_prompt
from toolformer.forward.tokenization import Tokenizer
from toolformer.server.api_errors import ApiError
from toolformer.server.bodies import MAX_LOGPROBS, CompletionBody, SharedBody

IGNORED_FIELDS = (
    *("metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"),
    *("parallel_tool_calls", "chat_id", "session_id", "id"),
)
"""Fields that some clients send and the server ignores."""
_ROLES = ("system", "developer", "user", "assistant")
_MESSAGE_FIELDS = (
    *("role", "content", "name", "id"),
    *("refusal", "annotations", "reasoning_content", "provider_specific_fields"),
)


class ChatBody(SharedBody):
    PROMPT: ClassVar[str] = "messages"

    messages: list[dict[str, Any]] = Field(
        min_length=1, description="a list of messages, each with a role and content"
    )
    max_tokens: int | None = Field(None, ge=1, description="a whole number from 1 upwards")
    max_completion_tokens: int | None = Field(
        None, ge=1, description="a whole number from 1 upwards"
    )
    logprobs: bool | None = Field(None, description="true or false")
    top_logprobs: int | None = Field(
        None, ge=0, le=MAX_LOGPROBS, description=f"a whole number from 0 to {MAX_LOGPROBS}"
    )
    response_format: dict[Literal["type"], Literal["text"]] | None = Field(
        None, description='{"type": "text"}, since no grammar can constrain the output'
    )
    tool_choice: Literal["none", "auto"] | None = Field(
        None, description='"auto" or "none", since only the model opens calls'
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_ignored(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {name: value for name, value in fields.items() if name not in IGNORED_FIELDS}

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def top_tokens(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def named_tools(self) -> list[str] | Literal["off"] | None:
        return "off" if self.tool_choice == "none" else self.tools

    def shows_calls(self, default: bool) -> bool:  # noqa: ARG002
        """Return whether the message contains the calls; by default it does not."""
        return bool(self.calls_in_text)

    def prompts(self, tokenizer: Tokenizer, start: int) -> list[tuple[str, list[int]]]:
        """Return the single prompt with its token ids, which exclude the start token."""
        turns = list(map(_turn, range(len(self.messages)), self.messages))
        if not any(turn["role"] == "user" for turn in turns):
            raise _refused("messages", "has no message with the role user", "at least one")
        if self.top_logprobs is not None and not self.logprobs:
            what = f"is {self.top_logprobs}, but logprobs is not true"
            raise _refused("top_logprobs", what, "logprobs to be true")
        if not has_chat_template(tokenizer):
            text = plain_prompt(turns)
            return [(text, tokenizer.encode(text))]
        try:
            ids = chat_ids(tokenizer, turns, start=start)
        except ChatTemplateError as error:
            what = f"are rejected by the model's chat template ({error})"
            raise _refused("messages", what, "roles in an order that it supports") from error
        return [(tokenizer.decode(ids), ids)]


Body = CompletionBody | ChatBody


def _refused(where: str, what: str, expected: str) -> ApiError:
    return ApiError(400, f"{where} {what}. Expected {expected}.", param=where.split("[")[0])


def _turn(index: int, message: Mapping[str, Any]) -> dict[str, str]:
    """Convert a message to the form that chat templates expect."""
    where, role = f"messages[{index}]", message.get("role")
    if role not in _ROLES:
        expected = f"one of {', '.join(_ROLES)}; only the server itself inserts tool results"
        raise _refused(where, f"has the role {reprlib.repr(role)}", expected)
    for name, value in message.items():
        if value and name not in _MESSAGE_FIELDS:
            raise _refused(where, f"has a field {reprlib.repr(name)}", "only role and content")
    content = message.get("content")
    texts = []
    for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
        text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        if not isinstance(text, str):
            expected = 'a text, or only parts such as {"type": "text", "text": "a"}'
            raise _refused(where, f"has the content {reprlib.repr(part)}", expected)
        # An unpaired surrogate, for example of a truncated emoji, becomes a question mark.
        texts.append(text.encode(errors="replace").decode())
    return {"role": "system" if role == "developer" else role, "content": "\n".join(texts)}
