"""The model that is served with its tools, and how a request is decoded with them."""

import datetime
import random
import reprlib
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from toolformer.decoding.completions import Completion, Decoding, MinCallProbability
from toolformer.decoding.decoder import most_new_tokens
from toolformer.decoding.decoding_row import RowSettings
from toolformer.decoding.live_batch import LiveBatch
from toolformer.decoding.live_text import LiveRequest
from toolformer.forward.chat_template import has_chat_template, plain_template
from toolformer.forward.model import Model
from toolformer.forward.start_token import start_token
from toolformer.home.wiring.live_calls import LiveTools, live_tools
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.server.api_errors import ApiError
from toolformer.server.bodies import CompletionBody, nearest
from toolformer.server.chat_bodies import ChatCompletionBody
from toolformer.settings.sections import Settings
from tools.protocol import ToolCall

_MAX_NEW_TOKENS = 4096
# Most tokens of an answer in a chat that says nothing of it, or `decoding.max_new_tokens` if more.
_CHAT_TOKENS = 512


@dataclass
class Served:
    """A model in a running batch, and its tools.

    Attributes:
        toolbox: its tools, opened for decoding and prepared.
        examples: beginnings of texts that it went on with rightly, each with the tool that it
            called; none where it was not measured.
        calls_in_text: whether calls stand in the texts of answers that say nothing of it.
        revision: what tells the model from others of its name; None where that is not known.
        created: when it was started, in seconds since 1970.
    """

    model: Model
    batch: LiveBatch
    settings: Settings
    toolbox: Toolbox
    min_call_probability: MinCallProbability
    examples: Sequence[tuple[str, str]] = ()
    calls_in_text: bool = True
    revision: str | None = None
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def description(self) -> dict[str, Any]:
        """The model as OpenAI's API describes one, and what it does with calls."""
        decoding = self.settings.decoding
        return {
            "id": self.model.name,
            "object": "model",
            "created": self.created,
            "owned_by": "toolformer",
            "dtype": self.model.precision,
            "revision": self.revision,
            "toolformer": {
                "tools": list(self.toolbox.tools),
                "unavailable": dict(self.toolbox.unavailable),
                "call_top_k": decoding.call_top_k,
                **self.min_call_probability.entries,
                "max_calls": decoding.max_calls,
                "calls_in_text": self.calls_in_text,
                "context_length": self.model.context_length,
                "max_tokens": self.max_new_tokens,
                "today": datetime.date.today().isoformat(),
                "examples": [{"tool": tool, "text": text} for tool, text in self.examples],
            },
        }

    @property
    def max_new_tokens(self) -> int:
        """The largest `max_tokens`."""
        return min(_MAX_NEW_TOKENS, self.model.context_length)

    def live_requests(self, body: CompletionBody) -> list[LiveRequest]:
        """What the batch is asked: for each prompt `n` texts, one after the other.

        Raises:
            ApiError: this model and its tools cannot do what was asked.
        """
        self.check_name(body.model)
        body.check()
        samples = body.n or 1
        if (count := len(body.prompts) * samples) > self.batch.max_active:
            raise ApiError(
                400,
                f"{body.PROMPT} and n ask for {count} texts. Expected at most "
                f"{self.batch.max_active}; ask for the others in another request.",
                param=body.PROMPT,
            )
        is_chat = isinstance(body, ChatCompletionBody)
        if (body.max_tokens or 0) > self.max_new_tokens and not is_chat:
            raise ApiError(
                400,
                f"max_tokens is {body.max_tokens}. Expected at most {self.max_new_tokens}.",
                param="max_tokens",
            )
        self.check_ids(body.logprob_token_ids or (), "logprob_token_ids")
        toolbox = self._requested_tools(body)
        given, is_continued = body.min_call_probability, body.max_tokens != 0
        if isinstance(given, dict):
            self._check_tools(given, "min_call_probability")
        asked = {
            "max_new_tokens": body.max_tokens if is_continued else 1,
            "call_top_k": body.call_top_k,
            "max_calls": body.max_calls,
        }
        decoding = Decoding(
            self.settings.decoding,
            self.settings.execution.max_result_tokens,
            tuple(toolbox.tools),
            min_call_probability=self.min_call_probability.changed(given),
        ).changed(**{name: value for name, value in asked.items() if value is not None})
        if is_chat:
            decoding = self._fitted(decoding, body)
        date = datetime.date.fromisoformat(body.today) if body.today else datetime.date.today()
        prompt_top = body.prompt_top if is_continued else body.prompt_top or 0
        requests = []
        for index in range(count):
            prompt, ids = body.prompts[index // samples], None
            if not isinstance(prompt, str):
                self.check_ids(prompt, "prompt")
                prompt, ids = self.model.tokenizer.decode(prompt), prompt
            # Failures are counted anew: a tool that was down must be asked again later.
            tools = live_tools(
                replace(toolbox, failures=Counter()), self.settings, [prompt], [date]
            )
            # Each text is that of a request of its own with this seed, as vLLM has it.
            seed = None if body.seed is None else f"{body.seed + index}/0"
            row_settings = RowSettings(
                decoding,
                tools.parse_arguments,
                body.stop_texts,
                top_tokens=body.logprobs or 0,
                listed_tokens=tuple(body.logprob_token_ids or ()),
                # The other texts of a prompt share what is found out about it.
                prompt_top=prompt_top if index % samples == 0 or not is_continued else None,
                is_continued=is_continued,
                temperature=body.temperature or 0.0,
                top_p=1.0 if body.top_p is None else body.top_p,
                uniform=random.Random(seed).random,
            )
            requests.append(LiveRequest(prompt, row_settings, partial(_run_call, tools), ids))
        return requests

    def _fitted(self, decoding: Decoding, body: CompletionBody) -> Decoding:
        """With as many new tokens as the context has room for behind the prompt, or as wanted."""
        (prompt,) = body.prompts
        ids = prompt if isinstance(prompt, list) else [0, *self.model.tokenizer.encode(prompt)]
        of_calls = most_new_tokens(decoding) - decoding.settings.max_new_tokens
        wanted = body.max_tokens or max(_CHAT_TOKENS, self.settings.decoding.max_new_tokens)
        fitting = min(wanted, self.max_new_tokens, self.model.context_length - len(ids) - of_calls)
        return decoding.changed(max_new_tokens=max(1, fitting))

    def check_ids(self, ids: Sequence[int], param: str) -> None:
        """Refuse tokens that the model does not have.

        Args:
            param: the field that they stand in.

        Raises:
            ApiError: names the largest of them.
        """
        if (token := max(ids, default=0)) >= self.model.vocabulary_size:
            message = f"{param} has the token id {token}. Expected less than the size of the "
            message += f"model's vocabulary, {self.model.vocabulary_size}."
            raise ApiError(400, message, param=param)

    def check_name(self, name: str | None) -> None:
        """Refuse to be another model.

        Raises:
            ApiError: this one has another name.
        """
        if name not in (None, self.model.name):
            raise ApiError(
                404,
                f"There is no model {reprlib.repr(name)}. Expected {self.model.name!r}.",
                param="model",
                code="model_not_found",
            )

    def empty_answer(self, completions: Iterable[Completion]) -> ApiError:
        """The error in place of a chat's answer without a word; it names the form to ask in.

        Args:
            completions: texts of all choices, which may have calls.
        """
        calls = dict.fromkeys(call.text.strip() for each in completions for call in each.calls)
        tokenizer, section = self.model.tokenizer, self.settings.language_model
        plain = plain_template(tokenizer, start_token(tokenizer, section.bos_token))
        advice = "Ask in other words, or have /v1/completions go on with a text."
        if not has_chat_template(tokenizer) or tokenizer.backend.chat_template == plain:
            example = next((f", such as {text!r}" for _, text in self.examples), "")
            advice = "The model was trained on no chats, and goes on with what is said. Send the "
            advice += f"beginning of a sentence{example}."
        but = f" but for {' and '.join(calls)}" if calls else ""
        message = f"The answer is empty{but}. {advice}"
        return ApiError(422, message, param="messages", code="empty_answer")

    def _requested_tools(self, body: CompletionBody) -> Toolbox:
        known = self.toolbox.tools
        if body.tools is None and body.prompt_top is None:
            return self.toolbox
        names = body.tools if isinstance(body.tools, list) else ()
        self._check_tools(names, "tools")
        return replace(self.toolbox, tools={name: known[name] for name in known if name in names})

    def _check_tools(self, names: Iterable[str], param: str) -> None:
        known, unavailable = self.toolbox.tools, self.toolbox.unavailable
        for name in names:
            if name not in known:
                reason = unavailable.get(name) or nearest(name, known)
                message = f"There is no tool {reprlib.repr(name)} here. {reason}"
                raise ApiError(400, message, param=param)


def _run_call(tools: LiveTools, call: ToolCall) -> str | None:
    return tools.run_calls([(0, call)])[0]
