"""One model against plain transformers (`plain_scores`): its largest differences.

The engine shares, caches, batches and leaves out; so whoever brings a model sees here whether it is
served exactly.
"""

import math
import tempfile
import unicodedata
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from toolformer.augmentation import KeptCall, augmented_segments
from toolformer.forward.attention_masks import attention_window
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.model import Branch
from toolformer.forward.windows import Window, split_into_windows
from toolformer.loss_weights import TOKEN_WEIGHTS
from toolformer.model_check.decoding import decoded_difference
from toolformer.model_check.plain_scores import PlainScores, can_be_drawn
from toolformer.samples import SamplingParameters
from toolformer.sampling import sample_calls
from toolformer.scoring.call_scorer import Pruning, ScoringParameters
from toolformer.scoring.loss_form import LossForm, Placement
from toolformer.scoring.losses import scorer_for
from toolformer.scoring.scored_call import ScoredCall
from toolformer.training.training_loss import ALIKE, add_gradient, summed_losses
from toolformer.training.training_rows import training_row
from tools.protocol import ToolCall

_CALL, _RESULT = ToolCall("Calculator", "48 * 3"), "144"
_TOOL, _ARGUMENTS = _CALL.tool_name, _CALL.arguments
_PROMPT = (
    "Add calls.\n\n"
    "Input: Six crates of 24 make 144.\n"
    "Output: Six crates of 24 make [Calculator(6 * 24)] 144.\n\n"
    "Input: {text}\nOutput:"
)
# Digits, brackets, a letter of two characters, an emoji of several bytes, the end of a line.
_TEXT = "Zoe\u0301 [of Vérone] sold 48 loaves at 3.50 🌋 each,\nso it took 1,234 (not 17) crowns. "
_SHORT_TEXT = "Rain fell on 12 hills"
# A longer window is not passed: the rows would take minutes.
_LONGEST_WINDOW = 1024
# Far below any threshold: of p_i that are smaller, the ratio decides nothing.
_LEAST = 1e-12
# By how much rounding moves a log-probability, with room for large models: in 16 bits six times the
# measured standard deviation of a loss.
TOLERANCES = {"float32": 5e-4, "float16": 0.03, "bfloat16": 0.3}


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """Largest differences of a model's numbers from plain transformers; all but the first in nats.

    Attributes:
        call_probability: of p_i, as a share of it, or of 1e-12 where it is smaller.
        samples: of the log-probability of a sample, teacher-forced, per token.
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
        with_gradient: take the training loss as training does, which takes the gradient too.
    """
    return _Comparison(model, with_gradient=with_gradient).figures()


class _Comparison:
    def __init__(self, model: LanguageModel, *, with_gradient: bool):
        self.model = model
        self.tokenizer = model.tokenizer
        self.with_gradient = with_gradient
        self.rounding = TOLERANCES[model.precision]
        self.plain = PlainScores(model)
        encode, request = self.tokenizer.encode_pieces, [f"{_TOOL}(", _ARGUMENTS, ")", " ->"]
        self.opening = encode([" ["])
        self.call = encode([" [", *request, f" {_RESULT}", "]"])
        self.call_alone = encode([" [", *request, "]"])

    def figures(self) -> ModelCheck:
        call_probability, samples, wrong_draws = self.sampling()
        return ModelCheck(
            call_probability,
            samples,
            wrong_draws,
            losses=self.scoring(Placement.PREFIX),
            inline_losses=self.scoring(Placement.INLINE),
            training_loss=self.training(),
            decoded=decoded_difference(
                self.model, self.plain, [window.text for window in self.windows], _CALL, _RESULT
            ),
            unrestored=self.unrestored(),
        )

    @cached_property
    def windows(self) -> list[Window]:
        """Two texts; the first is longer than the window of the model's attention."""
        window = attention_window(self.model.text_config) or 0
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
            _PROMPT,
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
            context = [*self.plain.prompt_ids(_PROMPT, window.text), *window.ids[: row.position]]
            ids = [*context, *self.opening, *forced, *branch.tokens]
            scores = self.plain.behind(ids, len(context))
            opening = sum(float(scores[at, token]) for at, token in enumerate(self.opening))
            expected = math.exp(opening)
            relative.append(abs(row.call_probability - expected) / max(expected, _LEAST))
            drawn = scores[len(self.opening) + len(forced) :]
            log_probability = 0.0
            for at, token in enumerate(branch.tokens):
                log_probability += float(drawn[at, token])
                uniform = float(branch.uniforms[at])
                wrong_draws += not can_be_drawn(drawn[at], uniform, token, rounding=self.rounding)
            samples.append(abs(branch.log_probability - log_probability) / len(branch.tokens))
        return max(relative), max(samples), wrong_draws

    def scoring(self, placement: Placement) -> float:
        calls = [
            ScoredCall(
                f"{window.document_id}-{place}", (window.document_id, 0), place, _CALL, _RESULT
            )
            for window in self.windows
            for place in self.places(window)
        ]
        windows = {(window.document_id, 0): window for window in self.windows}
        scorer = scorer_for(self.model, windows, ScoringParameters(LossForm(placement)))
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
                    expected = self.plain.loss(prefix, ids, call.position)
                else:
                    end = call.position + len(TOKEN_WEIGHTS)
                    before = [*ids[: call.position], *prefix]
                    expected = self.plain.loss(before, ids[call.position : end], 0)
                differences.append(math.inf if loss is None else abs(loss - expected))
        return max(differences)

    def augmented(self, window: Window) -> tuple[list[KeptCall], list[Any]]:
        """A text with calls at its places, and its tokens."""
        calls = [
            KeptCall(str(place), place, window.offsets[place] or 0, _TOOL, _ARGUMENTS, _RESULT, 1.0)
            for place in self.places(window)
        ]
        return calls, augmented_segments(self.tokenizer, window.ids, calls)

    def training(self) -> float:
        rows = [
            training_row(segments, range(len(window.ids)), max_tokens=self.model.context_length)
            for window in self.windows
            for _, segments in [self.augmented(window)]
        ]
        tokens = sum(len(row.ids) for row in rows)
        if self.with_gradient:
            loss = add_gradient(
                self.model, rows, weights=ALIKE, batch_weight=tokens, precision="float32"
            )
            self.model.model.zero_grad()
        else:
            # "float32" says that weights are taken as they are.
            [summed] = summed_losses(self.model, rows, weights=[ALIKE], precision="float32")
            loss = summed / tokens
        expected = 0.0
        for window in self.windows:
            ids: list[int] = []
            for place, token in enumerate(window.ids):
                ids += [*(self.call if place in self.places(window) else []), token]
            expected -= sum(self.plain.of_tokens([], ids)) / tokens
        return abs(loss - expected)

    def unrestored(self) -> str:
        """Text that does not come back, but for the form in which the vocabulary has letters."""
        decode = self.tokenizer.decode
        for window in self.windows:
            pairs = [(window.text, decode(list(window.ids)))]
            # Nothing stands in front of the first token, whose space may be the vocabulary's own.
            for place in self.places(window)[1:]:
                offset = window.offsets[place] or 0
                call = f" [{_TOOL}({_ARGUMENTS}) -> {_RESULT}]"
                text = window.text[:offset] + call + window.text[offset:]
                restored = decode([*window.ids[:place], *self.call, *window.ids[place:]])
                pairs.append((text, restored))
            for text, restored in pairs:
                if restored not in (text, unicodedata.normalize("NFC", text)):
                    return f"{restored!r} of {text!r}"
            if window.offsets[-1] is None:
                return f"no call can stand before the last token of {window.text!r}"
        return ""
