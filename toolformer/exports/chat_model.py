"""A chat model in a directory: asked by its own chat template, greedily, with the tools it offers.

Calls are read where they have the form of Qwen, Hermes and others:

    <tool_call>{"name": "area", "arguments": {"base": 10}}</tool_call>
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from toolformer.errors import ChatTemplateError, ToolformerError
from toolformer.exports.template_check import ChatTemplate
from toolformer.forward.devices import resolve_device
from toolformer.forward.precision import automatic_precisions
from toolformer.served.chat_client import REFUSED

_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|$)", re.DOTALL)
# Of one that thinks first; a call takes a hundred.
_MAX_NEW_TOKENS = 2048
# Words that stand in no template.
_USER, _TELLS, _NAME, _VALUE = (f"word{number}" for number in range(1_000_001, 1_000_005))
_PARAMETERS = {"type": "object", "properties": {"input": {"type": "string"}}}
_FUNCTION = {"name": _NAME, "description": _TELLS, "parameters": _PARAMETERS}


class ChatModel:
    """Answers as `toolformer.served.chat_client.ChatClient` does.

    Raises:
        ModelNotFoundError: the directory holds no model, or none with a chat template.
        ToolformerError: the template has no tools, or writes calls in another form.
    """

    def __init__(self, directory: Path):
        from toolformer.forward.network import Network

        self._template = ChatTemplate(directory)
        _check_calls(self._template, directory)
        device = resolve_device("auto")
        self._network = Network.load(
            directory, precision=automatic_precisions(device)[0], device=device
        )

    def answers(
        self, requests: Sequence[Mapping[str, Any]], *, progress: Callable[[int, int], None]
    ) -> list[dict[str, Any]]:
        """See `ChatClient.answers`; each request has `messages` and `tools`."""
        told = []
        for request in requests:
            told.append(self._answer(dict(request)))
            progress(len(told), len(requests))
        return told

    def close(self) -> None:
        """Nothing is open."""

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        import torch
        from transformers import GenerationConfig

        network, model = self._network, cast("Any", self._network.model)
        try:
            prompt = self._template.write(request, is_asked=True)
        except ChatTemplateError as error:
            return {REFUSED: f"refused: by the chat template ({error})"}
        ids = network.tokenizer.backend(prompt, add_special_tokens=False)["input_ids"]
        room = network.context_length - len(ids)
        if room < 1:
            return {REFUSED: f"refused: {len(ids)} tokens, more than the model takes"}
        ends, length = sorted(network.end_ids), min(room, _MAX_NEW_TOKENS)
        options = GenerationConfig(
            do_sample=False, max_new_tokens=length, eos_token_id=ends, pad_token_id=ends[0]
        )
        given = torch.tensor([ids], device=network.device)
        mask = torch.ones_like(given)
        written = model.generate(given, attention_mask=mask, generation_config=options)
        kept = [token for token in written[0, len(ids) :].tolist() if token not in ends]
        said = network.tokenizer.decode(kept).rpartition("</think>")[2]
        return {"content": _CALL.sub("", said).strip() or None, "calls": _calls(said)}


def _check_calls(template: ChatTemplate, directory: Path) -> None:
    """Write a tool and a call of it, and read the call back."""
    function = {"name": _NAME, "arguments": {"input": _VALUE}}
    call = {"id": "call00000", "type": "function", "function": function}
    turns = [
        {"role": "user", "content": _USER},
        {"role": "assistant", "content": "", "tool_calls": [call]},
    ]
    tools = [{"type": "function", "function": _FUNCTION}]
    try:
        written = template.write({"messages": turns, "tools": tools})
        behind = written.rpartition(_USER)[2].strip() if _TELLS in written else None
        reason = "writes no tools" if behind is None else f"writes a call as {behind!r}"
    except ChatTemplateError as error:
        behind, reason = None, f"refuses a call ({error})"
    if behind is None or _calls(behind) != [
        {"name": _NAME, "arguments": json.dumps(function["arguments"])}
    ]:
        raise ToolformerError(
            f"The chat template in '{directory}' {reason}. Expected tools, and calls as "
            "<tool_call>{JSON}</tool_call>. Let a server run the model that reads its calls, such "
            "as vllm serve with --tool-call-parser, and give its --url."
        )


def _calls(text: str) -> list[dict[str, str]]:
    """What can be read; servers too take a call that is no JSON for text."""
    found = []
    for written in _CALL.findall(text):
        try:
            told = json.loads(written)
            arguments = told["arguments"]
            as_text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            found.append({"name": str(told["name"]), "arguments": as_text})
        except (LookupError, TypeError, ValueError):
            continue
    return found
