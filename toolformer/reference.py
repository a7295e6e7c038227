"""Implements the whole method in one file: plain transformers, one sequence at a time (paper §2).

    x ──▶ positions I ──▶ calls c_i ──▶ results r_i ──▶ L_i⁻ − L_i⁺ ≥ τ_f ──▶ x* ──▶ training

Nothing is cached, batched or skipped: every number comes from a forward pass of the whole network
over the whole sequence. The other modules compute the same numbers in a fraction of the time. Tests
and `toolformer doctor --model` compare them with this module.

Symbols are those of the paper: x is a text of tokens x_1 … x_n, P(x) its few-shot prompt, M the
model, i a position, c = (a_c, i_c) a call, r its result, e(c) and e(c, r) a call as text, ε the
empty sequence. <API>, → and </API> are ` [`, ` ->` and `]`. Positions are counted from 0.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from toolformer.forward.language_model import LanguageModel
from tools.errors import CallSyntaxError
from tools.protocol import ToolCall
from tools.syntax import ARROW, CALL_CLOSE, CALL_OPEN, call_pieces, parse_sample

if TYPE_CHECKING:
    import torch

# w_t for t = 0 … 4: 1 - 0.2 t, normalised. All further weights are 0.
WEIGHTS = tuple(max(0.0, 1 - 0.2 * t) / 3 for t in range(5))
# Returns the result r of a call, or None if the tool has no answer.
RunTool = Callable[[ToolCall], str | None]
# Returns the random number in [0, 1) for a token, given the position, sample index and token index.
Draw = Callable[[int, int, int], float]


@dataclass(frozen=True, slots=True)
class Call:
    """A call c at a position i of a text, its result r, and its losses in nats.

    The losses are L_i(ε), L_i(e(c, ε)) and L_i⁺ = L_i(e(c, r)).
    """

    position: int
    call: ToolCall
    result: str
    loss_without_call: float = math.nan
    loss_call_without_result: float = math.nan
    loss_with_result: float = math.nan

    @property
    def loss_reduction(self) -> float:
        """L_i⁻ − L_i⁺, with L_i⁻ = min(L_i(ε), L_i(e(c, ε)))."""
        return min(self.loss_without_call, self.loss_call_without_result) - self.loss_with_result


def log_probabilities(
    model: LanguageModel, context: Sequence[int], tokens: Sequence[int] = ()
) -> "torch.Tensor":
    """Return log p_M(· | context, previous tokens) for each token and for one after the last.

    `context` has at least one token. The shape is `(len(tokens) + 1, vocabulary)`, in float32.
    """
    import torch

    network = model.model
    # Logits of a long context take gigabytes. Most networks can omit them.
    can_omit = "logits_to_keep" in inspect.signature(network.forward).parameters
    options = {"logits_to_keep": len(tokens) + 1} if can_omit else {}
    with torch.no_grad():
        row = torch.tensor([[*context, *tokens]], device=model.device)
        logits = network(input_ids=row, use_cache=False, **options).logits[0]
        return torch.log_softmax(logits[-len(tokens) - 1 :].float(), dim=-1).cpu()


def next_token_log_probabilities(model: LanguageModel, ids: Sequence[int]) -> "torch.Tensor":
    """Return log p_M(· | ids), shape `(vocabulary,)`."""
    return log_probabilities(model, ids)[0]


def log_probability(model: LanguageModel, context: Sequence[int], tokens: Sequence[int]) -> float:
    """Return log p_M(tokens | context)."""
    scores = log_probabilities(model, context, tokens)
    return math.fsum(float(row[token]) for row, token in zip(scores, tokens, strict=False))


def prompt_ids(model: LanguageModel, prompt: str, text: str) -> list[int]:
    """Return the tokens of P(x).

    The part before the text is the same for all texts, so it is encoded separately.
    """
    before, after = prompt.split("{text}")
    shared, tokenizer = before.rstrip(" "), model.tokenizer
    rest = tokenizer.encode_continuation(f"{before[len(shared) :]}{text}{after}")
    return [*_prompt_start(model), *tokenizer.encode(shared), *rest]


def _prompt_start(model: LanguageModel) -> list[int]:
    """Return the start token if the tokenizer itself begins texts with one."""
    backend = model.tokenizer.backend
    plain = backend.encode("a", add_special_tokens=False)
    adds_start = backend.encode("a", add_special_tokens=True)[: len(plain)] != plain
    return [model.bos_id] if adds_start else []


# Sampling API calls


def call_probability(model: LanguageModel, prompt: str, text: str, position: int) -> float:
    """Return p_i = p_M(<API> | P(x), x_{1:i-1})."""
    context = sampling_context(model, prompt, text, position, pieces=[])
    return math.exp(log_probability(model, context, model.tokenizer.encode_pieces([CALL_OPEN])))


def choose_positions(probabilities: Sequence[float], *, tau_s: float, k: int) -> list[int]:
    """Return I: the k positions of the largest p_i among those with p_i > τ_s, left to right."""
    above = [i for i, p in enumerate(probabilities) if p > tau_s]
    return sorted(sorted(above, key=lambda i: -probabilities[i])[:k])


def sampling_context(
    model: LanguageModel, prompt: str, text: str, position: int, *, pieces: list[str]
) -> list[int]:
    """Return the tokens of [P(x), x_{1:i-1}, pieces], after which a call is sampled."""
    ids = model.tokenizer.encode(text)[:position]
    return [*prompt_ids(model, prompt, text), *ids, *model.tokenizer.encode_pieces(pieces)]


def sample_tokens(
    model: LanguageModel,
    context: Sequence[int],
    draw: Callable[[int], float],
    *,
    max_tokens: int,
    is_finished: Callable[[str], bool],
) -> list[int]:
    """Draw tokens from M by inversion, up to `</API>` or the end of the text."""
    import torch

    tokens: list[int] = []
    while len(tokens) < max_tokens:
        probabilities = next_token_log_probabilities(model, [*context, *tokens]).double().exp()
        # In the order that batched sampling uses: the 256 most likely tokens in descending order,
        # then the other tokens by id.
        most_likely = probabilities.sort(descending=True, stable=True).indices[:256]
        is_other = torch.ones_like(probabilities, dtype=torch.bool)
        is_other[most_likely] = False
        order = torch.cat([most_likely, torch.nonzero(is_other)[:, 0]])
        number = torch.tensor(draw(len(tokens)))
        index = int(torch.searchsorted(probabilities[order].cumsum(0), number, right=True))
        tokens.append(int(order[min(index, len(order) - 1)]))
        if ends_text(model, tokens[-1]) or is_finished(model.tokenizer.decode_continuation(tokens)):
            break
    return tokens


def ends_text(model: LanguageModel, token: int) -> bool:
    """Return whether a token is not text; such a token ends a sample."""
    return token in model.end_ids or token in model.tokenizer.special_ids


def text_of(model: LanguageModel, tokens: Sequence[int]) -> str:
    """Return the text of a sample, without the token that ended it."""
    return model.tokenizer.decode([each for each in tokens if not ends_text(model, each)])


# Filtering API calls


def loss(
    model: LanguageModel,
    before: Sequence[int],
    ids: Sequence[int],
    weights: Sequence[float] = WEIGHTS,
) -> float:
    """Return -Σ_t w_t log p_M(ids_t | BOS, before, ids_{<t}), where `ids` are x_i, x_{i+1}, …."""
    following = list(ids[: len(weights)])
    scores = log_probabilities(model, [model.bos_id, *before], following)
    terms = zip(weights, scores, following, strict=False)
    return -math.fsum(weight * float(row[token]) for weight, row, token in terms)


def call_losses(
    model: LanguageModel,
    text: str,
    call: Call,
    weights: Sequence[float] = WEIGHTS,
    *,
    is_inline: bool = False,
) -> Call:
    """Compute L_i(ε), L_i(e(c, ε)) and L_i(e(c, r)).

    The paper puts the call before the whole text. With `is_inline`, the call is at its position
    instead.
    """
    ids = model.tokenizer.encode(text)
    losses = []
    for pieces in ([], call_pieces(call.call, None), call_pieces(call.call, call.result)):
        written, before = model.tokenizer.encode_pieces(pieces), ids[: call.position]
        context = [*before, *written] if is_inline else [*written, *before]
        losses.append(loss(model, context, ids[call.position :], weights))
    without_call, without_result, with_result = losses
    return replace(
        call,
        loss_without_call=without_call,
        loss_call_without_result=without_result,
        loss_with_result=with_result,
    )


# The dataset C*


def annotate(
    model: LanguageModel,
    prompt: str,
    text: str,
    tool_name: str,
    run_tool: RunTool,
    draw: Draw,
    *,
    tau_s: float,
    tau_f: float,
    k: int,
    m: int,
    max_tokens: int,
) -> list[Call]:
    """Return the kept calls of one tool in a text, with their losses.

    The tool's name is given; its arguments are sampled up to their closing parenthesis.
    """
    ids = model.tokenizer.encode(text)
    probabilities = [call_probability(model, prompt, text, i) for i in range(len(ids))]
    kept = []
    for i in choose_positions(probabilities, tau_s=tau_s, k=k):
        context = sampling_context(model, prompt, text, i, pieces=[CALL_OPEN, f"{tool_name}("])
        calls: dict[str, None] = {}
        for sample in range(m):
            tokens = sample_tokens(
                model,
                context,
                lambda token, i=i, sample=sample: draw(i, sample, token),
                max_tokens=max_tokens,
                is_finished=lambda sampled: arguments_of(sampled, tool_name) is not None,
            )
            arguments = arguments_of(text_of(model, tokens), tool_name)
            if arguments is not None:
                calls.setdefault(arguments)
        for arguments in calls:
            call = ToolCall(tool_name, arguments)
            result = run_tool(call)
            if result is not None:
                scored = call_losses(model, text, Call(i, call, result))
                kept += [scored] if scored.loss_reduction >= tau_f else []
    return kept


def arguments_of(sampled: str, tool_name: str) -> str | None:
    """Return the arguments of a sampled call; None if the call is unfinished or invalid."""
    depth = 1
    for index, character in enumerate(sampled):
        depth += (character == "(") - (character == ")")
        if not depth:
            try:
                return parse_sample(f"{tool_name}({sampled[: index + 1]}{CALL_CLOSE}", tool_name)
            except CallSyntaxError:
                return None
    return None


def augmented_ids(model: LanguageModel, text: str, calls: Sequence[Call]) -> list[int]:
    """Return x* = x_{1:i-1}, e(c, r), x_{i:n}; of several calls at i, use the most helpful one."""
    best = {call.position: call for call in sorted(calls, key=lambda call: call.loss_reduction)}
    ids: list[int] = []
    for i, token in enumerate(model.tokenizer.encode(text)):
        if i in best:
            pieces = call_pieces(best[i].call, best[i].result)
            ids += model.tokenizer.encode_pieces(pieces)
        ids.append(token)
    return ids


def training_loss(model: LanguageModel, ids: Sequence[int]) -> float:
    """Return the mean of -log p_M(x*_j | BOS, x*_{<j}), which finetuning minimises."""
    return -log_probability(model, [model.bos_id], ids) / len(ids)


# Inference


def complete(
    model: LanguageModel,
    prompt: str,
    tool_names: Sequence[str],
    run_tool: RunTool,
    *,
    k: int,
    max_tokens: int,
    max_call_tokens: int,
) -> str:
    """Return the greedy continuation of a prompt, with at most one call (paper §4.2).

    The call opens once <API> is among the k most likely tokens. After →, the tool runs, and its
    result and </API> are inserted. A call without a result is undone.
    """
    tokenizer = model.tokenizer
    (opening,) = tokenizer.encode_pieces([CALL_OPEN])
    ids, may_call = [model.bos_id, *tokenizer.encode(prompt)], True
    start = len(ids)
    left = max_tokens
    while left:
        scores = next_token_log_probabilities(model, ids)
        if may_call and int((scores > scores[opening]).sum()) < k:
            may_call = False
            ids += _call_ids(model, [*ids, opening], tool_names, run_tool, max_call_tokens)
            continue
        scores[opening] = -math.inf
        token = int(scores.argmax())
        if token in model.end_ids:
            break
        ids.append(token)
        left -= 1
    return tokenizer.decode_continuation(ids[start:])


def _call_ids(
    model: LanguageModel,
    ids: list[int],
    tool_names: Sequence[str],
    run_tool: RunTool,
    max_tokens: int,
) -> list[int]:
    """Write a call after `<API>`; return its tokens with the result, or [] without a result."""
    written: list[int] = []
    while len(written) < max_tokens:
        written.append(int(next_token_log_probabilities(model, [*ids, *written]).argmax()))
        text = model.tokenizer.decode_continuation(written)
        if ARROW in text:
            name = text.lstrip().partition("(")[0]
            try:
                call = ToolCall(name, parse_sample(text.partition(ARROW)[0] + CALL_CLOSE, name))
            except CallSyntaxError:
                return []
            result = run_tool(call) if name in tool_names else None
            if result is None:
                return []
            rest = model.tokenizer.encode_pieces([f" {result}", CALL_CLOSE])
            return [ids[-1], *written, *rest]
    return []
