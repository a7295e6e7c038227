"""Checks the batched and cached computations of a model against `toolformer.reference`."""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

from toolformer import reference
from toolformer.augmentation import KeptCall, augmented_segments
from toolformer.decoding.completions import Decoding
from toolformer.decoding.decoder import complete
from toolformer.forward.attention_masks import attention_window
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.model import Branch
from toolformer.forward.windows import Window, WindowKey, split_into_windows
from toolformer.sampling import allowed_positions, sample_calls
from toolformer.scoring.call_scorer import ScoredCall
from toolformer.scoring.losses import scorer_for
from toolformer.settings.annotation_sections import (
    DecodingSettings,
    SamplingSettings,
    ScoringSettings,
)
from toolformer.settings.tool_sections import ToolSettings
from toolformer.training.training_loss import EQUAL_WEIGHTS, summed_losses
from toolformer.training.training_rows import training_row
from tools.protocol import ToolCall

_TOOL, _ARGUMENTS, _RESULT = "Calculator", "48 * 3", "144"
_CALL = ToolCall(_TOOL, _ARGUMENTS)
_PROMPT = (
    "Add calls.\n\nInput: Six crates of 24 make 144.\n"
    "Output: Six crates of 24 make [Calculator(6 * 24)] 144.\n\n"
    "Input: {text}\nOutput:"
)
# Has digits, brackets, a letter made of two characters, an emoji of several bytes and a line break.
_TEXT = "Zoe\u0301 [of Vérone] sold 48 loaves at 3.50 🌋 each,\nso it took 1,234 (not 17) crowns. "
_SHORT_TEXT = "Rain fell on 12 hills"
# A text that exceeds a longer attention window would take minutes to check.
_MAX_ATTENTION_WINDOW = 1024
# Smaller p_i lie below any threshold, so their relative error does not matter.
_MIN_PROBABILITY = 1e-12
# Maximum rounding error of a log-probability in nats, with a margin for large models. In 16 bits it
# is six times the measured standard deviation of a loss.
TOLERANCES = {"float32": 5e-4, "float16": 0.03, "bfloat16": 0.3}
_TOOL_SETTINGS = ToolSettings(sampling_threshold=0.0, positions_per_text=3, calls_per_position=2)
_SAMPLING = SamplingSettings(max_new_tokens=6, seed=7)
# A call opens at the first token and is undone, because it gets no result.
_DECODING = Decoding(
    DecodingSettings(max_new_tokens=12, call_top_k=1_000_000, max_call_tokens=4, call_attempts=1),
    max_result_tokens=4,
    tools=(_TOOL,),
)

_Windows = Mapping[WindowKey, Window]


def check_model(model: LanguageModel) -> dict[str, float]:
    """Return the largest differences of a model's numbers from the reference.

    `call_probability` is a relative difference. The others are in nats: `samples` per token,
    `losses` and `inline_losses` per call, `training_loss` per batch. `decoded` is the difference
    per token, or the margin by which the reference prefers another token.
    """
    windows = _windows(model)
    call_probability, samples = _sampling(model, windows)
    return {
        "call_probability": call_probability,
        "samples": samples,
        "losses": _scoring(model, windows, ScoringSettings()),
        "inline_losses": _scoring(model, windows, ScoringSettings(placement="inline")),
        "training_loss": _training(model, windows),
        "decoded": _decoding(model, windows),
    }


def faults(differences: Mapping[str, float], tolerance: float) -> list[str]:
    return [
        f"{name.replace('_', ' ')} {difference:.2g}"
        for name, difference in differences.items()
        # NaN counts as a fault.
        if not difference <= tolerance
    ]


def _windows(model: LanguageModel) -> dict[WindowKey, Window]:
    """Return windows of two texts, the first of which exceeds the model's attention window."""
    window = attention_window(model.text_config) or 0
    count = len(model.tokenizer.encode(_TEXT))
    times = 1 + (window // count if window <= _MAX_ATTENTION_WINDOW else 0)
    return {
        one.key: one
        for name, text in (("long", (_TEXT * times).strip()), ("short", _SHORT_TEXT))
        for one in split_into_windows(name, text, model.tokenizer, window_tokens=4096)
    }


def _positions(window: Window) -> list[int]:
    """Return the first, the middle and the last position that may have a call."""
    allowed = [at for at, is_allowed in enumerate(allowed_positions(window)) if is_allowed]
    return sorted({allowed[0], allowed[len(allowed) // 2], allowed[-1]})


def _sampling(model: LanguageModel, windows: _Windows) -> tuple[float, float]:
    branches: list[Branch] = []
    rows = sample_calls(
        model,
        _PROMPT,
        list(windows.values()),
        tool_name=_TOOL,
        takes_arguments=True,
        parse_arguments=str.strip,
        tool=_TOOL_SETTINGS,
        sampling=_SAMPLING,
        proposed=[dict.fromkeys(_positions(window)) for window in windows.values()],
        branches=branches,
    )
    relative, samples = [], []
    for row, branch in zip(rows, branches, strict=True):
        text = windows[row.document_id, row.window_index].text
        # Sampled calls always have a probability; only proposed calls can lack one.
        assert row.call_probability is not None
        expected = reference.call_probability(model, _PROMPT, text, row.position)
        relative.append(abs(row.call_probability - expected) / max(expected, _MIN_PROBABILITY))
        context = reference.sampling_context(
            model, _PROMPT, text, row.position, pieces=[" [", f"{_TOOL}("]
        )
        expected = reference.log_probability(model, context, branch.tokens)
        samples.append(abs(branch.log_probability - expected) / len(branch.tokens))
    return max(relative), max(samples)


def _scoring(model: LanguageModel, windows: _Windows, scoring: ScoringSettings) -> float:
    calls = [
        ScoredCall(f"{window.document_id}-{position}", window.key, position, _CALL, _RESULT)
        for window in windows.values()
        for position in _positions(window)
    ]
    scorer = scorer_for(model, windows, scoring)
    with tempfile.TemporaryDirectory() as folder:
        losses = scorer.score(
            calls,
            exact={call.call_id for call in calls},
            checkpoint=Checkpoint(Path(folder) / "scoring", fingerprint="check"),
            progress=lambda _done, _total: None,
        )
    differences = []
    for call in calls:
        expected = reference.call_losses(
            model,
            windows[call.window].text,
            reference.Call(call.position, _CALL, _RESULT),
            is_inline=scoring.placement == "inline",
        )
        for name in ("loss_without_call", "loss_call_without_result", "loss_with_result"):
            computed = getattr(losses[call.call_id], name)
            differences.append(abs(computed - getattr(expected, name)))
    return max(differences)


def _training(model: LanguageModel, windows: _Windows) -> float:
    rows, expected, tokens = [], 0.0, 0
    for window in windows.values():
        positions = _positions(window)
        kept = [
            KeptCall(str(at), at, window.offsets[at] or 0, _TOOL, _ARGUMENTS, _RESULT, 1.0)
            for at in positions
        ]
        row = augmented_segments(model.tokenizer, window.ids, kept)
        rows.append(training_row(row, range(len(window.ids)), max_tokens=model.context_length))
        calls = [reference.Call(at, _CALL, _RESULT) for at in positions]
        ids = reference.augmented_ids(model, window.text, calls)
        expected += len(ids) * reference.training_loss(model, ids)
        tokens += len(ids)
    # With "float32", weights are used as they are.
    [summed] = summed_losses(model, rows, weights=[EQUAL_WEIGHTS], precision="float32")
    return abs(summed - expected) / tokens


def _decoding(model: LanguageModel, windows: _Windows) -> float:
    """Compare greedily decoded tokens and their log-probabilities."""
    completions = complete(
        model,
        [window.text for window in windows.values()],
        decoding=_DECODING,
        run_calls=lambda calls: [None for _ in calls],
        end_ids=frozenset(),
    )
    (opening,) = model.tokenizer.encode_pieces([" ["])
    differences = []
    for completion in completions:
        prompt = [model.bos_id, *model.tokenizer.encode(completion.prompt)]
        steps = [step for step in completion.trace if step.kind == "sampled"]
        scores = reference.log_probabilities(model, prompt, [step.token for step in steps])
        for step, own in zip(steps, scores, strict=False):
            differences.append(abs(float(own[step.token]) - (step.log_probability or 0.0)))
            own[opening] = -math.inf
            differences.append(float(own.max() - own[step.token]))
    return max(differences)
