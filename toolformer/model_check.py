"""Compares the engine's numbers for one model with the reference method.

The engine shares, caches and batches. This shows whoever brings a model whether it is served
exactly.
"""

import math
import tempfile
import unicodedata
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

from toolformer import reference
from toolformer.augmentation import KeptCall, augmented_segments
from toolformer.decoding.completions import Decoding
from toolformer.decoding.decoder import complete
from toolformer.forward.attention_masks import attention_window
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.model import Branch
from toolformer.forward.windows import Window, split_into_windows
from toolformer.samples import SamplingParameters
from toolformer.sampling import sample_calls
from toolformer.scoring.call_scorer import Pruning, ScoringParameters
from toolformer.scoring.loss_form import LossForm, Placement
from toolformer.scoring.losses import scorer_for
from toolformer.scoring.scored_call import ScoredCall
from toolformer.settings.call_sections import DecodingSettings
from toolformer.training.training_loss import ALIKE, add_gradient, summed_losses
from toolformer.training.training_rows import training_row
from tools.protocol import ToolCall

_TOOL, _ARGUMENTS, _RESULT = "Calculator", "48 * 3", "144"
_CALL = ToolCall(_TOOL, _ARGUMENTS)
_PROMPT = (
    "Add calls.\n\n"
    "Input: Six crates of 24 make 144.\n"
    "Output: Six crates of 24 make [Calculator(6 * 24)] 144.\n\n"
    "Input: {text}\nOutput:"
)
# Digits, brackets, a letter of two characters, an emoji of several bytes, the end of a line.
_TEXT = "Zoe\u0301 [of Vérone] sold 48 loaves at 3.50 🌋 each,\nso it took 1,234 (not 17) crowns. "
_SHORT_TEXT = "Rain fell on 12 hills"
# Rows longer than a longer attention window would take minutes.
_LONGEST_WINDOW = 1024
# Below any threshold, so the ratio of smaller p_i decides nothing.
_LEAST = 1e-12
# Largest rounding error of a log-probability in nats, with room for large models: in 16 bits six
# times the measured standard deviation of a loss.
TOLERANCES = {"float32": 5e-4, "float16": 0.03, "bfloat16": 0.3}
_SAMPLING = SamplingParameters(
    sampling_threshold=0.0,
    positions_per_text=3,
    calls_per_position=2,
    max_new_tokens=6,
    temperature=1.0,
    seed=7,
    is_constrained=True,
    round=1,
)
# A call opens at once, comes to nothing and is taken back.
_DECODING = Decoding(
    DecodingSettings(max_new_tokens=12, call_top_k=1_000_000, max_call_tokens=4, call_attempts=1),
    max_result_tokens=4,
    tools=(_TOOL,),
)


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """Largest differences of a model's numbers from the reference; all but the first in nats.

    Attributes:
        call_probability: Of p_i, relative to it, or to 1e-12 if it is smaller.
        samples: Of the log-probability of a sample, per token.
        losses: Of the three losses of a call in front of its text.
        inline_losses: Of the three losses of a call at its place.
        training_loss: Of the mean loss of a batch.
        decoded: Of the log-probability of a decoded token, or by how much another is likelier.
        unrestored: Text that does not come back from its tokens; empty if all does.
    """

    call_probability: float
    samples: float
    losses: float
    inline_losses: float
    training_loss: float
    decoded: float
    unrestored: str

    def faults(self, tolerance: float) -> list[str]:
        """Describe each difference above the tolerance."""
        names = [field.name for field in fields(self)][:-1]
        found = [
            f"{name.replace('_', ' ')} {getattr(self, name):.2g}"
            for name in names
            # NaN is no agreement.
            if not getattr(self, name) <= tolerance
        ]
        return found + ([f"not restored: {self.unrestored}"] if self.unrestored else [])


def check_model(model: LanguageModel, *, with_gradient: bool = False) -> ModelCheck:
    """Compare a model's numbers with the reference.

    Args:
        with_gradient: Compute the training loss as training does, together with its gradient.
    """
    check = _Check(model)
    call_probability, samples = check.sampling()
    return ModelCheck(
        call_probability,
        samples,
        losses=check.scoring(Placement.PREFIX),
        inline_losses=check.scoring(Placement.INLINE),
        training_loss=check.training(with_gradient=with_gradient),
        decoded=check.decoding(),
        unrestored=check.unrestored(),
    )


class _Check:
    def __init__(self, model: LanguageModel):
        self.model = model
        self.tokenizer = model.tokenizer

    @cached_property
    def windows(self) -> dict[tuple[str, int], Window]:
        """Two texts; the first is longer than the window of the model's attention."""
        window = attention_window(self.model.text_config) or 0
        count = len(self.tokenizer.encode(_TEXT))
        times = 1 + (window // count if window <= _LONGEST_WINDOW else 0)
        texts = {"long": (_TEXT * times).strip(), "short": _SHORT_TEXT}
        return {
            one.key: one
            for name, text in texts.items()
            for one in split_into_windows(name, text, self.tokenizer, window_tokens=4096)
        }

    def places(self, window: Window) -> list[int]:
        """Return the first, the middle and the last position that can hold a call."""
        places = [
            place
            for place, offset in enumerate(window.offsets)
            if offset is not None and not window.text[offset:].lstrip(" ").startswith("[")
        ]
        return sorted({places[0], places[len(places) // 2], places[-1]})

    def sampling(self) -> tuple[float, float]:
        """Compare p_i and samples, teacher-forced."""
        branches: list[Branch] = []
        windows = list(self.windows.values())
        rows = sample_calls(
            self.model,
            _PROMPT,
            windows,
            tool_name=_TOOL,
            takes_arguments=True,
            parse_arguments=str.strip,
            parameters=_SAMPLING,
            proposed=[dict.fromkeys(self.places(window)) for window in windows],
            branches=branches,
        )
        relative, samples = [], []
        for row, branch in zip(rows, branches, strict=True):
            text = self.windows[row.document_id, row.window_index].text
            expected = reference.call_probability(self.model, _PROMPT, text, row.position)
            relative.append(abs(row.call_probability - expected) / max(expected, _LEAST))
            context = reference.sampling_context(
                self.model, _PROMPT, text, row.position, pieces=[" [", f"{_TOOL}("]
            )
            expected = reference.log_probability(self.model, context, branch.tokens)
            samples.append(abs(branch.log_probability - expected) / len(branch.tokens))
        return max(relative), max(samples)

    def scoring(self, placement: Placement) -> float:
        """Compare the three losses of calls."""
        calls = {
            f"{window.document_id}-{place}": ScoredCall(
                f"{window.document_id}-{place}", window.key, place, _CALL, _RESULT
            )
            for window in self.windows.values()
            for place in self.places(window)
        }
        scorer = scorer_for(self.model, self.windows, ScoringParameters(LossForm(placement)))
        with tempfile.TemporaryDirectory() as folder:
            losses = scorer.score(
                list(calls.values()),
                pruning=Pruning(0.0, set(calls)),
                checkpoint=Checkpoint(Path(folder) / "scoring", fingerprint="check"),
                progress=lambda _done, _total: None,
            )
        differences = []
        for call_id, call in calls.items():
            expected = reference.call_losses(
                self.model,
                self.windows[call.window].text,
                reference.Call(call.position, _CALL, _RESULT),
                is_inline=placement is Placement.INLINE,
            )
            for name in ("loss_without_call", "loss_call_without_result", "loss_with_result"):
                found = getattr(losses[call_id], name)
                differences.append(
                    math.inf if found is None else abs(found - getattr(expected, name))
                )
        return max(differences)

    def training(self, *, with_gradient: bool) -> float:
        """Compare the mean loss of a batch of texts with calls."""
        expected, tokens, rows = 0.0, 0, []
        for window in self.windows.values():
            kept = [
                KeptCall(str(at), at, window.offsets[at] or 0, _TOOL, _ARGUMENTS, _RESULT, 1.0)
                for at in self.places(window)
            ]
            segments = augmented_segments(self.tokenizer, window.ids, kept)
            limit = self.model.context_length
            rows.append(training_row(segments, range(len(window.ids)), max_tokens=limit))
            calls = [reference.Call(at, _CALL, _RESULT) for at in self.places(window)]
            ids = reference.augmented_ids(self.model, window.text, calls)
            tokens += len(rows[-1].ids)
            expected += len(ids) * reference.training_loss(self.model, ids)
        if with_gradient:
            loss = add_gradient(
                self.model, rows, weights=ALIKE, batch_weight=tokens, precision="float32"
            )
            self.model.model.zero_grad()
        else:
            # "float32" says that weights are taken as they are.
            [summed] = summed_losses(self.model, rows, weights=[ALIKE], precision="float32")
            loss = summed / tokens
        return abs(loss - expected / tokens)

    def decoding(self) -> float:
        """Compare greedy tokens of texts decoded together, teacher-forced."""
        prompts = [window.text for window in self.windows.values()]
        completions = complete(
            self.model,
            prompts,
            decoding=_DECODING,
            run_calls=lambda asked: [None for _ in asked],
            end_ids=frozenset(),
        )
        (opening,) = self.tokenizer.encode_pieces([" ["])
        differences = []
        for completion in completions:
            prompt = [self.model.bos_id, *self.tokenizer.encode(completion.prompt)]
            steps = [step for step in completion.trace if step.kind == "sampled"]
            scores = reference.log_probabilities(self.model, prompt, [step.token for step in steps])
            for step, own in zip(steps, scores, strict=False):
                said = step.log_probability or 0.0
                differences.append(abs(float(own[step.token]) - said))
                own[opening] = -math.inf
                differences.append(float(own.max() - own[step.token]))
        return max(differences)

    def unrestored(self) -> str:
        """Return text that does not come back, but for the vocabulary's own form of letters."""
        encode, decode = self.tokenizer.encode_pieces, self.tokenizer.decode
        pieces = [" [", f"{_TOOL}(", _ARGUMENTS, ")", " ->", f" {_RESULT}", "]"]
        for window in self.windows.values():
            pairs = [(window.text, decode(list(window.ids)))]
            # Nothing stands in front of the first token, whose space may be the vocabulary's own.
            for at in self.places(window)[1:]:
                offset = window.offsets[at] or 0
                text = window.text[:offset] + "".join(pieces) + window.text[offset:]
                pairs.append((text, decode([*window.ids[:at], *encode(pieces), *window.ids[at:]])))
            for text, restored in pairs:
                if restored not in (text, unicodedata.normalize("NFC", text)):
                    return f"{restored!r} of {text!r}"
            if window.offsets[-1] is None:
                return f"no call can stand before the last token of {window.text!r}"
        return ""
