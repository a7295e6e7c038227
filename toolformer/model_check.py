"""One model against plain transformers: whole rows through its own forward pass, one at a time.

The engine shares, caches, batches and leaves out; here every number is taken a second time without
all that, so that whoever brings a model sees whether it is served exactly. What is fed is put
together here anew, from the tokenizer alone.
"""

import inspect
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolformer.augmentation import KeptCall, augmented_segments
from toolformer.branches import Branch
from toolformer.calls import CallFormat
from toolformer.decoding.completions import Completion, DecodingParameters
from toolformer.decoding.decoder import complete
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.prefix_cache import compute_prompt_prefix
from toolformer.forward.windows import Window, split_into_windows
from toolformer.loss_weights import TOKEN_WEIGHTS
from toolformer.samples import SamplingParameters
from toolformer.sampling import sample_calls
from toolformer.scoring.call_scorer import Pruning, ScoringParameters
from toolformer.scoring.loss_form import LossForm, Placement
from toolformer.scoring.losses import scorer_for
from toolformer.scoring.scored_call import ScoredCall
from toolformer.training.training_loss import LossWeights, add_gradient, summed_loss
from toolformer.training.training_rows import training_row
from tools.protocol import ToolCall

if TYPE_CHECKING:
    import torch

_TOOL, _ARGUMENTS, _RESULT = "Calculator", "48 * 3", "144"
_PROMPT = (
    "Add calls.\n\n"
    "Input: Six crates of 24 make 144.\n"
    "Output: Six crates of 24 make [Calculator(6 * 24)] 144.\n\n"
    "Input: {text}\nOutput:"
)
# Digits, brackets, a letter of two characters, an emoji of several bytes, the end of a line.
_TEXT = "Zoe\u0301 [of Vérone] sold 48 loaves at 3.50 🌋 each,\nso it took 1,234 (not 17) crowns. "
_SHORT_TEXT = "Rain fell on 12 hills"
_ASKED = ("It took 48 * 3 =", "Rain")
_NEW_TOKENS = 20
# A longer window is not passed: the rows would take minutes.
_LONGEST_WINDOW = 1024
# By how much rounding moves a loss: in float32 what is asked for, else six times its measured
# standard deviation.
TOLERANCES = {"float32": 1e-4, "float16": 0.03, "bfloat16": 0.3}


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """Largest differences of a model's numbers from plain transformers; all but the first in nats.

    Attributes:
        call_probability: of p_i, relative.
        samples: of the log-probability of a sample, teacher-forced.
        wrong_draws: tokens of samples that its random number does not draw.
        losses: of the three losses of a call in front of its text.
        inline_losses: of a call at its place.
        training_loss: of the mean loss of a batch.
        decoded: of the log-probability of a decoded token, or by how much another one is likelier;
            with a call and its result between the tokens.
        unrestored: what is not restored character for character; empty where all is.
    """

    call_probability: float
    samples: float
    wrong_draws: int
    losses: float
    inline_losses: float
    training_loss: float
    decoded: float
    unrestored: str

    def faults(self, tolerance: float) -> list[str]:
        """What is not equal, in words; nothing where all is."""
        names = [field.name for field in fields(self)][:-1]
        found = [
            f"{name.replace('_', ' ')} {getattr(self, name):.2g}"
            for name in names
            # NaN is no agreement.
            if not getattr(self, name) <= (0 if name == "wrong_draws" else tolerance)
        ]
        return found + ([f"not restored: {self.unrestored}"] if self.unrestored else [])


def check_model(model: LanguageModel, *, with_gradient: bool = False) -> ModelCheck:
    """Compute the figures of a model.

    Args:
        model: in any precision; both sides compute in it.
        with_gradient: take the training loss as training does, which takes the gradient too.
    """
    return _Comparison(model, with_gradient=with_gradient).figures()


def can_be_drawn(
    log_probabilities: "torch.Tensor", uniform: float, token: int, *, rounding: float
) -> bool:
    """Whether rounding of the logits, in other batches or on another processor, can draw a token.

    The tokens whose order among the 256 likeliest is not a matter of rounding bound the part of
    [0, 1) that belongs to the token. Of the others, which stand in the order of their ids, one can
    take the place of the 256th token, and all between them move by as much.

    Args:
        log_probabilities: shape `(vocabulary,)`, in nats.
        rounding: how far rounding moves a log-probability.
    """
    probabilities = log_probabilities.double().exp()
    likeliest = probabilities.topk(min(256, len(probabilities))).indices
    if token in likeliest:
        above = probabilities[log_probabilities > log_probabilities[token] + rounding].sum()
        upto = probabilities[log_probabilities >= log_probabilities[token] - rounding].sum()
        slack = rounding
    else:
        others = probabilities.clone()
        others[likeliest] = 0
        above = probabilities[likeliest].sum() + others[:token].sum()
        upto = above + probabilities[token]
        slack = rounding + float(probabilities[likeliest[-1]])
    return float(above) - slack <= uniform <= float(upto) + slack


def attention_window(model: LanguageModel) -> int | None:
    """How many tokens a layer of the model sees at most; None where all see all."""
    config = model.text_config
    names = ("sliding_window", "attention_chunk_size", "window_size", "local_attention")
    windows = [getattr(config, name, None) for name in names]
    return min((window for window in windows if window), default=None)


class _Comparison:
    def __init__(self, model: LanguageModel, *, with_gradient: bool):
        self.model = model
        self.tokenizer = model.tokenizer
        self.with_gradient = with_gradient
        self.rounding = TOLERANCES[model.precision]
        # Of a row that is asked for at several places.
        self.scores: dict[tuple[tuple[int, ...], ...], list[float]] = {}
        encode = self.tokenizer.encode_pieces
        self.opening = encode([" ["])
        self.request = [f"{_TOOL}(", _ARGUMENTS, ")", " ->"]
        self.call = encode([" [", *self.request, f" {_RESULT}", "]"])
        self.call_alone = encode([" [", *self.request, "]"])

    def figures(self) -> ModelCheck:
        call_probability, samples, wrong_draws = self.sampling()
        return ModelCheck(
            call_probability,
            samples,
            wrong_draws,
            losses=self.scoring(Placement.PREFIX),
            inline_losses=self.scoring(Placement.INLINE),
            training_loss=self.training(),
            decoded=self.decoding(),
            unrestored=self.unrestored(),
        )

    @cached_property
    def windows(self) -> list[Window]:
        """Two texts; the first is longer than the window of the model's attention."""
        window = attention_window(self.model) or 0
        count = len(self.tokenizer.encode(_TEXT))
        times = 1 + (window // count if window <= _LONGEST_WINDOW else 0)
        texts = (_TEXT * times).strip(), _SHORT_TEXT
        return [
            one
            for name, text in zip(("long", "short"), texts, strict=True)
            for one in split_into_windows(name, text, self.tokenizer, window_tokens=4096)
        ]

    def places(self, window: Window) -> list[int]:
        """Some places of a text where a call can stand, from its beginning to its end."""
        places = [
            place
            for place, offset in enumerate(window.offsets)
            if offset is not None and not window.text[offset:].lstrip(" ").startswith("[")
        ]
        return sorted({places[0], places[len(places) // 2], places[-1]})

    def log_probabilities(self, ids: Sequence[int], begin: int) -> "torch.Tensor":
        """The values log p( · | ids before it) of the places of a row from `begin` on."""
        import torch

        network = self.model.model
        # Most classes compute the logits of the last tokens alone, where they are told so.
        keeps = "logits_to_keep" in inspect.signature(network.forward).parameters
        fewer = {"logits_to_keep": len(ids) - begin + 1} if keeps else {}
        with torch.inference_mode():
            row = torch.tensor([list(ids)], device=self.model.device)
            logits = network(input_ids=row, use_cache=False, **fewer).logits[0]
            wanted = logits[begin - 1 - len(ids) :]
            return torch.log_softmax(wanted.float(), dim=-1).cpu()

    def loss(self, before: Sequence[int], ids: Sequence[int], begin: int) -> float:
        """The paper's loss of the tokens of a text from `begin` on, with tokens before the text."""
        scores = self.token_scores(before, ids)[begin:]
        return -sum(weight * score for weight, score in zip(TOKEN_WEIGHTS, scores, strict=False))

    def token_scores(self, before: Sequence[int], ids: Sequence[int]) -> list[float]:
        """Log-probabilities of tokens behind the start token and others, in nats."""
        key = tuple(before), tuple(ids)
        if key not in self.scores:
            scores = self.log_probabilities([self.model.bos_id, *before, *ids], 1 + len(before))
            self.scores[key] = [float(scores[at, token]) for at, token in enumerate(ids)]
        return self.scores[key]

    def sampling(self) -> tuple[float, float, int]:
        parameters = SamplingParameters(
            sampling_threshold=0.0,
            positions_per_text=3,
            calls_per_position=2,
            max_new_tokens=6,
            temperature=1.0,
            seed=7,
            is_constrained=True,
            round=1,
        )
        branches: list[Branch] = []
        rows = sample_calls(
            self.model,
            compute_prompt_prefix(self.model, _PROMPT),
            self.windows,
            tool_name=_TOOL,
            takes_arguments=True,
            parse_arguments=str.strip,
            parameters=parameters,
            proposed=[dict.fromkeys(self.places(window)) for window in self.windows],
            branches=branches,
        )
        windows = {window.document_id: window for window in self.windows}
        forced = self.tokenizer.encode_pieces([f"{_TOOL}("])
        relative, samples, wrong_draws = [], [], 0
        for row, branch in zip(rows, branches, strict=True):
            window = windows[row.document_id]
            context = [*self.prompt_ids(window.text), *window.ids[: row.position]]
            ids = [*context, *self.opening, *forced, *branch.tokens]
            scores = self.log_probabilities(ids, len(context))
            opening = sum(float(scores[at, token]) for at, token in enumerate(self.opening))
            relative.append(abs(math.expm1(math.log(row.call_probability) - opening)))
            drawn = scores[len(self.opening) + len(forced) :]
            log_probability = 0.0
            for at, token in enumerate(branch.tokens):
                log_probability += float(drawn[at, token])
                uniform = float(branch.uniforms[at])
                wrong_draws += not can_be_drawn(drawn[at], uniform, token, rounding=self.rounding)
            samples.append(abs(branch.log_probability - log_probability))
        return max(relative), max(samples), wrong_draws

    def prompt_ids(self, text: str) -> list[int]:
        """P(x), with a seam in front of the space before the text."""
        before, after = _PROMPT.split("{text}")
        shared = before.rstrip(" ")
        behind = self.tokenizer.encode_behind(f"{before[len(shared) :]}{text}{after}")
        return [*self.start, *self.tokenizer.encode(shared), *behind]

    @cached_property
    def start(self) -> list[int]:
        """The start token, where the tokenizer itself puts something in front of a text."""
        backend = self.tokenizer.backend
        alone = backend.encode("a", add_special_tokens=False)
        is_led = backend.encode("a", add_special_tokens=True)[: len(alone)] != alone
        return [self.model.bos_id] if is_led else []

    def scoring(self, placement: Placement) -> float:
        calls = [
            ScoredCall(
                f"{window.document_id}-{place}",
                (window.document_id, 0),
                place,
                ToolCall(_TOOL, _ARGUMENTS),
                _RESULT,
            )
            for window in self.windows
            for place in self.places(window)
        ]
        windows = {(window.document_id, 0): window for window in self.windows}
        scorer = scorer_for(
            self.model, windows, ScoringParameters(CallFormat(), LossForm(placement))
        )
        with tempfile.TemporaryDirectory() as folder:
            losses = scorer.score(
                calls,
                pruning=Pruning(0.0, {call.call_id for call in calls}),
                checkpoint=Checkpoint(Path(folder) / "scoring", fingerprint="check"),
                progress=lambda _done, _total: None,
            )
        differences = []
        for call in calls:
            ids, found = windows[call.window].ids, losses[call.call_id]
            for loss, prefix in (
                (found.loss_without_call, []),
                (found.loss_call_without_result, self.call_alone),
                (found.loss_with_result, self.call),
            ):
                if placement is Placement.PREFIX:
                    expected = self.loss(prefix, ids, call.position)
                else:
                    end = call.position + len(TOKEN_WEIGHTS)
                    before = [*ids[: call.position], *prefix]
                    expected = self.loss(before, ids[call.position : end], 0)
                differences.append(math.inf if loss is None else abs(loss - expected))
        return max(differences)

    def augmented(self, window: Window) -> tuple[list[KeptCall], list[Any]]:
        """A text with calls at its places, and its tokens."""
        calls = [
            KeptCall(str(place), place, window.offsets[place] or 0, _TOOL, _ARGUMENTS, _RESULT, 1.0)
            for place in self.places(window)
        ]
        return calls, augmented_segments(
            self.tokenizer, window.ids, calls, call_format=CallFormat()
        )

    def training(self) -> float:
        rows = [
            training_row(segments, range(len(window.ids)), max_tokens=self.model.context_length)
            for window in self.windows
            for _, segments in [self.augmented(window)]
        ]
        tokens = sum(len(row.ids) for row in rows)
        if self.with_gradient:
            loss = add_gradient(
                self.model,
                rows,
                weights=LossWeights(text=1.0, call=1.0, result=1.0),
                batch_weight=tokens,
                precision="float32",
            )
            self.model.model.zero_grad()
        else:
            # "float32" says that weights are taken as they are.
            loss = summed_loss(self.model, [row.ids for row in rows], precision="float32") / tokens
        expected = 0.0
        for window in self.windows:
            ids: list[int] = []
            for place, token in enumerate(window.ids):
                ids += [*(self.call if place in self.places(window) else []), token]
            expected -= sum(self.token_scores([], ids)) / tokens
        return abs(loss - expected)

    def decoding(self) -> float:
        parameters = partial(
            DecodingParameters,
            max_calls=1,
            max_call_tokens=64,
            max_result_tokens=16,
            tools=(_TOOL,),
        )
        decode = partial(
            complete,
            self.model,
            run_calls=lambda asked: [_RESULT for _ in asked],
            end_ids=frozenset(),
        )
        # Of any rank: the call opens at once. The model is made to write it, not what follows.
        with self.writing_the_call():
            (called,) = decode(
                _ASKED[:1],
                parameters=parameters(
                    max_new_tokens=_NEW_TOKENS,
                    call_top_k=self.model.text_config.vocab_size,
                ),
            )
        if not called.calls:
            return math.inf
        together = decode(_ASKED, parameters=parameters(max_new_tokens=8, call_top_k=0))
        return max(self.decoded_difference(one) for one in (called, *together))

    @contextmanager
    def writing_the_call(self) -> Iterator[None]:
        """Make the model go on with the call once it is open; it has to read one row alone."""
        script = [*self.opening, *self.tokenizer.encode_pieces(self.request)]
        read: list[int] = []

        def look(_module: Any, args: Any, kwargs: Any) -> None:
            ids = args[0] if args else kwargs["input"]
            read.extend(ids.flatten().tolist())

        def lean(_module: Any, _args: Any, logits: "torch.Tensor") -> None:
            for length in range(len(self.opening), len(script)):
                if read[-length:] == script[:length]:
                    # Logits that are capped behind the output layer stay the largest.
                    logits.flatten(0, -2)[-1, script[length]] += 1e4

        network = self.model.model
        hooks = [
            network.get_input_embeddings().register_forward_pre_hook(look, with_kwargs=True),
            network.get_output_embeddings().register_forward_hook(lean),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def decoded_difference(self, completion: Completion) -> float:
        prompt = [self.model.bos_id, *self.tokenizer.encode(completion.prompt)]
        trace = completion.trace
        scores = self.log_probabilities([*prompt, *(step.token for step in trace)], len(prompt))
        # The call itself was not the model's choice.
        inside = [at for at, step in enumerate(trace) if step.kind != "sampled"]
        outside = [
            at for at in range(len(trace)) if not inside or not inside[0] <= at <= inside[-1]
        ]
        differences = []
        for at in outside:
            own, step = scores[at].clone(), trace[at]
            differences.append(abs(float(own[step.token]) - (step.log_probability or 0.0)))
            before = [one.token for one in trace[:at]]
            opened = self.opening[:-1]
            if not opened or before[-len(opened) :] == opened:
                # No call may be opened any more.
                own[self.opening[-1]] = -math.inf
            differences.append(float(own.max() - own[step.token]))
        return max(differences)

    def unrestored(self) -> str:
        decode = self.tokenizer.decode
        for window in self.windows:
            if decode(list(window.ids)) != window.text:
                return f"{decode(list(window.ids))!r} of {window.text!r}"
            if window.offsets[-1] is None:
                return f"no call can stand before the last token of {window.text!r}"
            for place in self.places(window)[1:]:
                # Nothing stands in front of the first token, whose space is then the vocabulary's.
                restored = decode([*window.ids[:place], *self.call, *window.ids[place:]])
                offset = window.offsets[place] or 0
                call = f" [{_TOOL}({_ARGUMENTS}) -> {_RESULT}]"
                if restored != (text := window.text[:offset] + call + window.text[offset:]):
                    return f"{restored!r} of {text!r}"
        return ""
