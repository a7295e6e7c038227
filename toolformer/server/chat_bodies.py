"""The body of `POST /v1/chat/completions`, and the prompt that its messages become.

For models without a chat template the prompt is the texts of the messages, which the model
continues. A model that was finetuned here on no chats has a template that writes the same.
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
"""Fields that clients send for purposes of their own."""
_ROLES = ("system", "developer", "user", "assistant")
_OF_MESSAGES = (
    *("role", "content", "name", "id"),
    *("refusal", "annotations", "reasoning_content", "provider_specific_fields"),
)


class ChatBody(SharedBody):
    """A request to answer a chat."""

    PROMPT: ClassVar[str] = "messages"

    messages: list[dict[str, Any]] = Field(
        min_length=1, description="a list of messages, each with a role and content"
    )
    max_tokens: int | None = Field(None, ge=1, description="a whole number from 1")
    max_completion_tokens: int | None = Field(None, ge=1, description="a whole number from 1")
    logprobs: bool | None = Field(None, description="true or false")
    top_logprobs: int | None = Field(
        None, ge=0, le=MAX_LOGPROBS, description=f"a whole number from 0 to {MAX_LOGPROBS}"
    )
    response_format: dict[Literal["type"], Literal["text"]] | None = Field(
        None, description='{"type": "text"}, since no grammar shapes what the model writes'
    )
    tool_choice: Literal["none", "auto"] | None = Field(
        None, description='"auto" or "none", since the model itself opens calls'
    )

    @model_validator(mode="before")
    @classmethod
    def _leave_out(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {name: value for name, value in fields.items() if name not in IGNORED_FIELDS}

    @property
    def token_limit(self) -> int | None:
        """See `CompletionBody.token_limit`."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def top_tokens(self) -> int | None:
        """See `CompletionBody.top_tokens`."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def named_tools(self) -> list[str] | Literal["off"] | None:
        """See `CompletionBody.named_tools`."""
        return "off" if self.tool_choice == "none" else self.tools

    def shows_calls(self, default: bool) -> bool:  # noqa: ARG002
        """Return whether the content has the calls; only if the request asks for that."""
        return bool(self.calls_in_text)

    def prompts(self, tokenizer: Tokenizer, start: int) -> list[tuple[str, list[int]]]:
        """Return the one text to continue, with its token ids after the start token.

        Raises:
            ApiError: a message cannot be answered, or the model's template refuses it or fails.
        """
        turns = list(map(_turn, range(len(self.messages)), self.messages))
        if not any(turn["role"] == "user" for turn in turns):
            raise _refused("messages", "has none of the role user", "at least one")
        if self.top_logprobs is not None and not self.logprobs:
            raise _refused("top_logprobs", f"is {self.top_logprobs}", "logprobs besides, true")
        if not has_chat_template(tokenizer):
            text = plain_prompt(turns)
            return [(text, tokenizer.encode(text))]
        try:
            ids = chat_ids(tokenizer, turns, start=start)
        except ChatTemplateError as error:
            what = f"do not go through the model's chat template ({error})"
            raise _refused("messages", what, "roles in an order that it knows") from error
        return [(tokenizer.decode(ids), ids)]


Body = CompletionBody | ChatBody


def _refused(where: str, what: str, expected: str) -> ApiError:
    return ApiError(400, f"{where} {what}. Expected {expected}.", param=where.split("[")[0])


def _turn(place: int, message: Mapping[str, Any]) -> dict[str, str]:
    """Return a message as templates take it, with its role and its text alone."""
    where, role = f"messages[{place}]", message.get("role")
    if role not in _ROLES:
        expected = f"one of {', '.join(_ROLES)}: results of tools are the server's own"
        raise _refused(where, f"has the role {reprlib.repr(role)}", expected)
    for name, value in message.items():
        if value and name not in _OF_MESSAGES:
            raise _refused(where, f"has a field {reprlib.repr(name)}", "role and content alone")
    content = message.get("content")
    texts = []
    for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
        text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        if not isinstance(text, str):
            expected = 'a text, or parts such as {"type": "text", "text": "a"}: text alone is read'
            raise _refused(where, f"has the content {reprlib.repr(part)}", expected)
        # Half a surrogate pair, as of a cut emoji, becomes a question mark.
        texts.append(text.encode(errors="replace").decode())
    return {"role": "system" if role == "developer" else role, "content": "\n".join(texts)}
