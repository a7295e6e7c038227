"""Decoding against plain transformers: with a call and its result in it, and texts together."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from toolformer.decoding.completions import Completion, DecodingParameters
from toolformer.decoding.decoder import complete
from toolformer.forward.language_model import LanguageModel
from toolformer.model_check.plain_scores import PlainScores
from tools.protocol import ToolCall
from tools.syntax import call_pieces

if TYPE_CHECKING:
    import torch

_NEW_TOKENS, _NEW_TOKENS_TOGETHER = 20, 8


def decoded_difference(
    model: LanguageModel, plain: PlainScores, prompts: Sequence[str], call: ToolCall, result: str
) -> float:
    """How far the tokens that the engine decodes lie from those of plain transformers.

    Args:
        prompts: the call is decoded behind the first, and nothing but text behind each.

    Returns:
        The largest difference of a token's log-probability, or by how much another token is
        likelier, in nats; infinite where the call is not decoded.
    """
    parameters = partial(
        DecodingParameters,
        max_calls=1,
        max_call_tokens=64,
        max_result_tokens=16,
        tools=(call.tool_name,),
    )
    decode = partial(
        complete, model, run_calls=lambda asked: [result for _ in asked], end_ids=frozenset()
    )
    anywhere = model.text_config.vocab_size
    with _writing(call, model):
        (called,) = decode(
            prompts[:1], parameters=parameters(max_new_tokens=_NEW_TOKENS, call_top_k=anywhere)
        )
    if not called.calls:
        return math.inf
    without = parameters(max_new_tokens=_NEW_TOKENS_TOGETHER, call_top_k=0)
    completions = [called, *decode(prompts, parameters=without)]
    return max(_difference(completion, model, plain) for completion in completions)


@contextmanager
def _writing(call: ToolCall, model: LanguageModel) -> Iterator[None]:
    """Make the model go on with the call once it is open; it has to read one row alone."""
    script = model.tokenizer.encode_pieces(call_pieces(call, None)[:-1])
    opening = len(model.tokenizer.encode_pieces([" ["]))
    read: list[int] = []

    def look(_module: Any, args: Any, kwargs: Any) -> None:
        ids = args[0] if args else kwargs["input"]
        read.extend(ids.flatten().tolist())

    def lean(_module: Any, _args: Any, logits: "torch.Tensor") -> None:
        for length in range(opening, len(script)):
            if read[-length:] == script[:length]:
                # Large enough to be the largest where logits are capped behind the output layer.
                logits.flatten(0, -2)[-1, script[length]] += 1e4

    network: Any = model.model
    hooks = [
        network.get_input_embeddings().register_forward_pre_hook(look, with_kwargs=True),
        network.get_output_embeddings().register_forward_hook(lean),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _difference(completion: Completion, model: LanguageModel, plain: PlainScores) -> float:
    tokenizer, trace = model.tokenizer, completion.trace
    prompt = [model.bos_id, *tokenizer.encode(completion.prompt)]
    scores = plain.behind([*prompt, *(step.token for step in trace)], len(prompt))
    *first, last = tokenizer.encode_pieces([" ["])
    # What belongs to the call was not the model's choice.
    call = [at for at, step in enumerate(trace) if step.kind != "sampled"] or [len(trace)]
    differences = []
    for at, step in enumerate(trace):
        if call[0] <= at <= call[-1]:
            continue
        own = scores[at].clone()
        differences.append(abs(float(own[step.token]) - (step.log_probability or 0.0)))
        if [one.token for one in trace[at - len(first) : at]] == first:
            # No further call may be opened.
            own[last] = -math.inf
        differences.append(float(own.max() - own[step.token]))
    return max(differences)
